// This file reads the list, or the list before it. It parses nothing that does not match its
// checksum, so that a part of a policy is never published.

package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var errTorn = errors.New("its checksum does not match")

// TornError says that the list could not be used, and the list before it was used instead. It comes
// with data: publish the data, and report the error.
type TornError struct {
	Path       string // of the file that could not be used
	Generation uint64 // of the data
	Err        error
}

func (e *TornError) Error() string {
	return fmt.Sprintf("read %s: %v; generation %d of %s is used", e.Path, e.Err, e.Generation, previousName)
}

func (e *TornError) Unwrap() error { return e.Err }

// LoadEffective returns the last good list in the state directory dir, its claims grouped by
// origin. It needs no open Store. Where no daemon ever wrote a list it returns a zero Effective and
// no error. With a *TornError the Effective is that of the generation before; with any other error
// there is none.
func LoadEffective(dir string) (Effective, error) { return load(dir, nil) }

// LoadDeclared is LoadEffective without the claims of kept origins. A caller that opens the
// Store gets these from Claims, and need not parse a million lines twice.
func LoadDeclared(dir string) (Effective, error) { return load(dir, policy.Origin.Kept) }

// load loads the list, where without is not nil without the claims of origins for which it holds.
func load(dir string, without func(policy.Origin) bool) (Effective, error) {
	state, err := loadEither(dir, without)
	return state.Effective, err
}

// loadEither loads the list, or the one before it. See LoadEffective.
func loadEither(dir string, without func(policy.Origin) bool) (State, error) {
	path := filepath.Join(dir, effectiveName)
	state, err := loadState(path, without)
	if err == nil {
		return state, nil
	}
	previous := filepath.Join(dir, previousName)
	state, previousErr := loadState(previous, without)
	missing, previousMissing := errors.Is(err, fs.ErrNotExist), errors.Is(previousErr, fs.ErrNotExist)
	switch {
	case previousErr == nil:
		return state, &TornError{path, state.Generation, err}
	case missing && previousMissing:
		return State{}, nil
	case previousMissing:
		return State{}, fmt.Errorf("read %s: %w", path, err)
	}
	return State{}, errors.Join(fmt.Errorf("read %s: %w", path, err), fmt.Errorf("read %s: %w", previous, previousErr))
}

func loadFile(path string, without func(policy.Origin) bool) (Effective, error) {
	state, err := loadState(path, without)
	return state.Effective, err
}

func loadState(path string, without func(policy.Origin) bool) (State, error) {
	file, err := os.Open(path)
	if err != nil {
		return State{}, err
	}
	defer file.Close()
	size, err := verify(file)
	if err != nil {
		return State{}, err
	}
	return readState(io.NewSectionReader(file, 0, size), without)
}

// readListHead returns the head of the list at path, which may be damaged after the head.
func readListHead(path string) (head, error) {
	file, err := os.Open(path)
	if err != nil {
		return head{}, err
	}
	defer file.Close()
	return readHead(bufio.NewReaderSize(file, bufferSize), records{})
}

// readEffective reads what writeEffective wrote, without the checksum. without is that of load.
func readEffective(r io.Reader, without func(policy.Origin) bool) (Effective, error) {
	state, err := readState(r, without)
	return state.Effective, err
}

// readState is readEffective with the records beside the claims.
func readState(r io.Reader, without func(policy.Origin) bool) (State, error) {
	state := State{records: records{}}
	var err error
	state.Effective, err = state.read(bufio.NewReaderSize(r, bufferSize), without)
	if err != nil {
		return State{}, err
	}
	return state, nil
}

func (state *State) read(lines *bufio.Reader, without func(policy.Origin) bool) (Effective, error) {
	h, err := readHead(lines, state.records)
	if err != nil {
		return Effective{}, err
	}
	state.Serial = h.Serial
	e := Effective{Generation: h.Generation, Services: h.Services, Interfaces: h.Interfaces, Attach: h.Attach, Backstop: h.Backstop}
	s := &section{lines: lines}
	skipped := 0
	for s.next() {
		origin, err := s.origin()
		if err != nil {
			return Effective{}, err
		}
		if without != nil && without(origin) {
			skipped += s.skip()
			continue
		}
		claims, err := s.claims(origin)
		if err != nil {
			return Effective{}, err
		}
		for i := range claims {
			e.Claims = append(e.Claims, &claims[i])
		}
	}
	if s.err != nil {
		return Effective{}, s.err
	}
	if n := len(e.Claims) + skipped; n != h.Claims {
		return Effective{}, fmt.Errorf("%d entries where the head says %d", n, h.Claims)
	}
	return e, nil
}

// readHead reads up to the end of the head, and puts the records before it into beside.
func readHead(lines *bufio.Reader, beside records) (h head, err error) {
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return h, fmt.Errorf("find the head: %w", err)
		}
		if text, found := bytes.CutPrefix(line, []byte(recordMark)); found {
			bucket, key, record, err := parseRecord(bytes.TrimSuffix(text, []byte("\n")))
			if err != nil {
				return h, fmt.Errorf("parse a record: %w", err)
			}
			beside.put(bucket, string(key), record)
			continue
		}
		text, found := bytes.CutPrefix(line, []byte(headMark))
		if !found {
			continue
		}
		if err := json.Unmarshal(text, &h); err != nil {
			return h, fmt.Errorf("parse the head: %w", err)
		}
		if h.Version != formatVersion {
			return h, fmt.Errorf("format %d: %w", h.Version, ErrNewer)
		}
		return h, nil
	}
}

// section reads the claims of one origin. It removes the marks of this file, so that policy.ParseList
// gets plain lines.
type section struct {
	lines  *bufio.Reader
	line   []byte   // the rest of the current line
	title  string   // the origin line that ended the section before
	wheres []string // one for each line of the section
	err    error
}

// next goes to the next section and reports whether there is one.
func (s *section) next() bool {
	if s.title == "" && s.err == nil {
		s.advance()
	}
	if s.err == nil && len(s.line) > 0 {
		s.err = errors.New("an entry has no origin")
	}
	return s.err == nil && s.title != ""
}

// origin is that of the section.
func (s *section) origin() (policy.Origin, error) {
	quoted := strings.TrimPrefix(s.title, originMark)
	origin, err := strconv.Unquote(quoted)
	if err != nil {
		return "", fmt.Errorf("origin %s: %w", quoted, err)
	}
	return policy.Origin(origin), nil
}

// claims reads the claims of the section, with their places.
func (s *section) claims(origin policy.Origin) ([]policy.Claim, error) {
	s.title, s.wheres = "", nil
	claims, _, err := policy.ParsePlaced(effectiveName, origin, s, func(line int) string { return s.wheres[line-1] })
	if err != nil {
		return nil, fmt.Errorf("entries of origin %s: %w", origin, err)
	}
	if len(claims) != len(s.wheres) {
		return nil, fmt.Errorf("entries of origin %s: %d in %d lines", origin, len(claims), len(s.wheres))
	}
	return claims, nil
}

// skip skips the section, and counts its entries.
func (s *section) skip() (entries int) {
	for s.title = ""; s.err == nil && s.title == ""; entries++ {
		line, err := s.lines.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return entries
		case err != nil:
			s.err = fmt.Errorf("read a line: %w", err)
		case bytes.HasPrefix(line, []byte(originMark)):
			s.title = string(line[:len(line)-1])
			return entries
		}
	}
	return entries
}

// Read returns the section line by line.
func (s *section) Read(p []byte) (int, error) {
	if len(s.line) == 0 && s.title == "" {
		s.advance()
	}
	if s.err != nil {
		return 0, s.err
	}
	if len(s.line) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.line)
	s.line = s.line[n:]
	return n, nil
}

// advance reads one line: into title, or into line and wheres.
func (s *section) advance() {
	line, err := s.lines.ReadSlice('\n')
	if err == io.EOF && len(line) == 0 {
		return
	}
	if err != nil { // not wrapped: the bufio.Reader that reads from us treats some errors in its own way
		s.err = fmt.Errorf("read a line: %v", err)
		return
	}
	if bytes.HasPrefix(line, []byte(originMark)) {
		s.title = string(line[:len(line)-1])
		return
	}
	where := ""
	if at := bytes.LastIndex(line, []byte(whereMark)); at >= 0 {
		quoted := line[at+len(whereMark) : len(line)-1]
		if where, err = strconv.Unquote(string(quoted)); err != nil {
			s.err = fmt.Errorf("place %s: %w", quoted, err)
			return
		}
		line = append(line[:at], '\n')
	}
	s.wheres = append(s.wheres, where)
	s.line = line
}
