// This file writes the list: the policy of one generation, complete and with a checksum. A host
// that lost power has its last good policy again before any declared file is read.

package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	effectiveName = "effective.list"
	previousName  = effectiveName + ".prev"
	formatVersion = 1
	bufferSize    = 1 << 18

	// What the file has beside lines of the list grammar; for that grammar these are
	// comments.
	recordMark = "#= "      // and a record of the database, before the head
	headMark   = "#! "      // and the head as JSON
	originMark = "#@ "      // and the quoted origin of the lines that follow
	whereMark  = "\t#: "    // and the quoted Where of the claim before it
	sumMark    = "#sha256 " // and the hexadecimal sum of all before this line
	sumSize    = len(sumMark) + 2*sha256.Size + 1
)

const preamble = `# What xdpallow enforces, written by the daemon and published after a reboot; what
# came later is in ` + journalName + `. Do not edit: where a byte differs from the
# checksum at the end, the list before (` + previousName + `) is used instead.
`

// Effective is the policy of one generation, as claims.
type Effective struct {
	Generation uint64
	Services   []policy.Service
	Interfaces []string
	Attach     string          // as --attach
	Backstop   string          // as --backstop
	Claims     []*policy.Claim // of all origins; the store only reads them
}

// Declared returns the claims of flags and files, by origin.
func (e Effective) Declared() map[policy.Origin][]policy.Claim {
	byOrigin := map[policy.Origin][]policy.Claim{}
	for _, c := range e.Claims {
		if !c.Origin.Kept() {
			byOrigin[c.Origin] = append(byOrigin[c.Origin], *c)
		}
	}
	return byOrigin
}

// head is everything but the claims.
type head struct {
	Version    int              `json:"version"`
	Serial     uint64           `json:"serial,omitempty"` // of the last change that it says
	Generation uint64           `json:"generation"`
	Services   []policy.Service `json:"services"`
	Interfaces []string         `json:"interfaces"`
	Attach     string           `json:"attach"`
	Backstop   string           `json:"backstop,omitempty"`
	Claims     int              `json:"claims"`
}

// linkOver gives the file at path a second name, in place of the file that had that name.
func linkOver(path, second string) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(second))
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(path, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, second); err != nil {
		return err
	}
	// rename keeps both names if they are one file already, which is so after a crash
	// between here and the replacement.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeList writes e, grouped by origin, with the records that stand beside it, and its checksum.
func writeList(w io.Writer, e Effective, serial uint64, records []byte) error {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), bufferSize)
	if err := writeBody(out, e, serial, records); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sumLine(sum))
	return err
}

// writeBody writes everything but the checksum.
func writeBody(out *bufio.Writer, e Effective, serial uint64, records []byte) error {
	h, err := json.Marshal(head{formatVersion, serial, e.Generation, e.Services, e.Interfaces, e.Attach, e.Backstop, len(e.Claims)})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s%s%s%s\n", preamble, records, headMark, h) // errors stay with out
	byOrigin := make(map[policy.Origin][]*policy.Claim)
	for _, c := range e.Claims {
		byOrigin[c.Origin] = append(byOrigin[c.Origin], c)
	}
	for _, origin := range slices.Sorted(maps.Keys(byOrigin)) {
		for claims := byOrigin[origin]; len(claims) > 0; {
			if claims, err = writeSection(out, origin, claims); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSection writes claims of one origin, and returns those whose prefix was there already: in
// one section ParseList would refuse them, and the host would have no policy after a reboot.
func writeSection(out *bufio.Writer, origin policy.Origin, claims []*policy.Claim) (again []*policy.Claim, err error) {
	fmt.Fprintf(out, "%s%s\n", originMark, strconv.Quote(string(origin)))
	var seen map[netip.Prefix]struct{} // not needed where claims are sorted, as a million of the command line are
	if !ascending(claims) {
		seen = make(map[netip.Prefix]struct{}, len(claims))
	}
	var line []byte
	for _, c := range claims {
		if _, found := seen[c.Prefix]; found {
			again = append(again, c)
			continue
		}
		if seen != nil {
			seen[c.Prefix] = struct{}{}
		}
		if line, err = appendClaim(line[:0], c); err != nil {
			return nil, err
		}
		if _, err := out.Write(line); err != nil {
			return nil, err
		}
	}
	return again, nil
}

// ascending reports whether each prefix comes after the one before it.
func ascending(claims []*policy.Claim) bool {
	for i := 1; i < len(claims); i++ {
		if policy.ComparePrefix(claims[i-1].Prefix, claims[i].Prefix) >= 0 {
			return false
		}
	}
	return true
}

// appendClaim appends the line of a claim. Where the note contains the mark, another mark follows,
// so that the last mark in a line never belongs to a note.
func appendClaim(line []byte, c *policy.Claim) ([]byte, error) {
	if err := policy.StoredNote(c.Note); err != nil {
		return nil, fmt.Errorf("entry %s: %w", c.Prefix, err)
	}
	line = policy.AppendLine(line, *c)
	if c.Where != "" || strings.Contains(c.Note, whereMark) {
		line = strconv.AppendQuote(append(line, whereMark...), c.Where)
	}
	return append(line, '\n'), nil
}

func sumLine(sum hash.Hash) []byte {
	return append(hex.AppendEncode([]byte(sumMark), sum.Sum(nil)), '\n')
}

// isWhole reports whether the file at path exists and matches its checksum.
func isWhole(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	_, err = verify(file)
	return err == nil
}

// verify compares the file with its checksum, and returns how many bytes come before the checksum.
func verify(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size() - int64(sumSize)
	if size < 0 {
		return 0, errTorn
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		return 0, err
	}
	line := make([]byte, sumSize)
	if _, err := file.ReadAt(line, size); err != nil {
		return 0, err
	}
	if !bytes.Equal(line, sumLine(sum)) {
		return 0, errTorn
	}
	return size, nil
}
