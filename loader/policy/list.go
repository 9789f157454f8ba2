// This file reads list files. A list is bounded, its mistakes have line numbers, and one mistake
// refuses it as a whole: half a list is an outage for the other half.

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxLine is the longest line of a list in bytes, without its end.
const MaxLine = 4096

// ParseList reads lines of `PREFIX|ADDR key=value… # comment` and returns their claims in the
// order of the file. A prefix that stands there twice with the same words, whatever its
// comments, is one claim, with the first comment. name is the file's name for Where
// ("name:3") and for messages. A bad line refuses the whole list: the error joins an
// *InputError for each of the first twenty. A text that is not UTF-8 is one *InputError that
// names its encoding. An error of r is returned with another type.
func ParseList(name string, origin Origin, r io.Reader) (claims []Claim, warnings []string, err error) {
	return parseList(listParser{name: name, origin: origin}, r)
}

// ParseSorted is ParseList with the claims sorted by ComparePrefix.
func ParseSorted(name string, origin Origin, r io.Reader) (claims []Claim, warnings []string, err error) {
	return parseList(listParser{name: name, origin: origin, sorted: true}, r)
}

// ParseStored is ParseList for what FormatLine wrote, in this release or an earlier one.
func ParseStored(name string, origin Origin, r io.Reader) (claims []Claim, warnings []string, err error) {
	return ParsePlaced(name, origin, r, nil)
}

// ParsePlaced is ParseStored for claims that stood elsewhere. place returns the Where of a line; the
// first is 1. It is called by several goroutines.
func ParsePlaced(name string, origin Origin, r io.Reader, place func(line int) string) (claims []Claim, warnings []string, err error) {
	return parseList(listParser{name: name, origin: origin, stored: true, place: place}, r)
}

// ParseFile is ParseList for a file that may be no list at all, because a symlink can lead to a
// secret: messages quote nothing from it that does not look like an address.
func ParseFile(name string, origin Origin, r io.Reader) (claims []Claim, warnings []string, err error) {
	return parseList(listParser{name: name, origin: origin, discreet: true}, r)
}

func parseList(p listParser, r io.Reader) (claims []Claim, warnings []string, err error) {
	var text wholeText
	if _, err := io.Copy(&text, r); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", p.name, err)
	}
	if err := checkLines(p.name, text.String()); err != nil {
		return nil, nil, err
	}
	parts := p.divided(strings.TrimPrefix(text.String(), "\ufeff"))
	var reading sync.WaitGroup
	for _, part := range parts {
		reading.Go(part.read)
	}
	reading.Wait()
	return joined(parts)
}

// wholeText is what was written to it. A text that is written as one string is not copied.
type wholeText struct {
	strings.Builder
	one string
}

func (t *wholeText) WriteString(s string) (int, error) {
	if t.one == "" && t.Len() == 0 {
		t.one = s
		return len(s), nil
	}
	return t.Builder.WriteString(s)
}

func (t *wholeText) String() string { return t.one + t.Builder.String() }

// checkLines returns the *InputError of the first line that is in another encoding. There would be
// one for each line.
func checkLines(name, text string) error {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if err := CheckUTF8(name, []byte(line)); err != nil {
			return err
		}
	}
	return nil
}

// listParser reads one list, or a part of one.
type listParser struct {
	name     string
	origin   Origin
	sorted   bool                  // see ParseSorted
	discreet bool                  // see ParseFile
	stored   bool                  // see ParseStored
	place    func(line int) string // see ParsePlaced; nil is name and line

	take   func(Directive) error // of ParseExport; nil is a list, which has no directives
	export error                 // that the list is an export: one is enough

	text  string
	first int // number of its first line

	claims    []listed
	order     []claimAt
	commented bool              // of the last line: its note is a comment, or it has none
	names     map[string]string // owners and services, so that a million lines share them
	warnings  mistakes
	bad       []mistake // the first of them
	more      int       // the others
}

// listed is a claim as it stands in a list.
type listed struct {
	Claim
	line      int
	commented bool // its note is a comment, or it has none
	again     bool // it stands further up as well
}

// claimAt is a claim to be sorted: to move these is faster, and to compare claims where they lie.
type claimAt struct {
	prefix netip.Prefix
	at     int // index into the claims
}

// The parts of a list are read beside each other.
const (
	mostParts = 4
	shortPart = 1 << 18 // bytes
)

// divided returns parsers of the parts of text.
func (p listParser) divided(text string) (parts []*listParser) {
	n := max(1, min(mostParts, runtime.GOMAXPROCS(0), len(text)/shortPart))
	if p.take != nil { // who takes directives gets them in order
		n = 1
	}
	for p.first = 1; n > 0; n-- {
		part, end := p, len(text)
		if next := strings.IndexByte(text[end/n:], '\n'); n > 1 && next >= 0 {
			end = end/n + next + 1
		}
		part.text, text = text[:end], text[end:]
		p.first += strings.Count(part.text, "\n")
		parts = append(parts, &part)
	}
	return parts
}

// read reads all lines, and sorts their claims.
func (p *listParser) read() {
	p.names = map[string]string{}
	p.claims = make([]listed, 0, 1+min(strings.Count(p.text, "\n"), len(p.text)/len("1.1.1.1\n"))) // hardly more lines have one
	for n := p.first; p.text != ""; n++ {
		var text string
		if text, p.text, _ = strings.Cut(p.text, "\n"); len(text) > MaxLine+1 || len(strings.TrimSuffix(text, "\r")) > MaxLine {
			p.mistake(n, inputErrorf("", "", "line is longer than %d bytes", MaxLine))
		} else {
			p.add(n, strings.TrimSuffix(text, "\r"))
		}
	}
	p.order = make([]claimAt, len(p.claims))
	for i := range p.claims {
		p.order[i] = claimAt{p.claims[i].Prefix, i}
	}
	slices.SortFunc(p.order, func(a, b claimAt) int { return cmp.Or(ComparePrefix(a.prefix, b.prefix), a.at-b.at) })
}

func (p *listParser) where(line int) string {
	if p.place != nil {
		return p.place(line)
	}
	return p.name + ":" + strconv.Itoa(line)
}

// add reads line n: an entry, a directive, or a mistake.
func (p *listParser) add(n int, text string) {
	if keyword(text) != "" {
		p.direct(n, text)
		return
	}
	c, warning, err := p.parseLine(text)
	if err != nil {
		p.mistake(n, err)
		return
	}
	if !c.Prefix.IsValid() {
		return
	}
	c.Origin, c.Where, c.Note = p.origin, p.where(n), strings.Clone(c.Note) // else it keeps the text in memory
	if warning != "" {
		p.warnings.add(fmt.Errorf("%s: %s", c.Where, warning))
	}
	p.claims = append(p.claims, listed{Claim: c, line: n, commented: p.commented})
}

func (p *listParser) mistake(n int, err error) {
	if input, ok := errors.AsType[*InputError](err); ok {
		input.Where = p.where(n)
	}
	if len(p.bad) == maxMessages {
		p.more++
		return
	}
	p.bad = append(p.bad, mistake{n, err})
}

// SameWords reports whether two claims of one prefix say the same, whatever their origins.
func SameWords(a, b Claim) bool {
	return a.Owner == b.Owner && slices.Equal(a.Services, b.Services) && a.Until.Equal(b.Until) && a.Note == b.Note
}
