// This file reads list files. A list is bounded, its mistakes have line numbers, and one mistake
// refuses it as a whole: half a list is an outage for the other half.

package policy

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
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

// ParseStored is ParseList for what FormatLine wrote, in this release or an earlier one.
func ParseStored(name string, origin Origin, r io.Reader) (claims []Claim, warnings []string, err error) {
	return parseList(listParser{name: name, origin: origin, stored: true}, r)
}

// ParseFile is ParseList for a file that may be no list at all, because a symlink can lead to a
// secret: messages quote nothing from it that does not look like an address.
func ParseFile(name string, origin Origin, r io.Reader) (claims []Claim, warnings []string, err error) {
	return parseList(listParser{name: name, origin: origin, discreet: true}, r)
}

func parseList(p listParser, r io.Reader) (claims []Claim, warnings []string, err error) {
	name := p.name
	p.seen, p.names = make(map[netip.Prefix]int32), make(map[string]string)
	in := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, long, err := readLine(in)
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if err := CheckUTF8(name, line); err != nil { // of which there would be one for each line
			return nil, nil, err
		}
		if long {
			p.bad.add(inputErrorf(p.where(n), "", "line is longer than %d bytes", MaxLine))
		} else {
			p.add(n, string(line))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	if err := p.bad.err(name); err != nil {
		return nil, nil, err
	}
	if p.moreWarnings > 0 {
		p.warnings = append(p.warnings, fmt.Sprintf("%s: and %d more", name, p.moreWarnings))
	}
	return p.claims, p.warnings, nil
}

// readLine returns the next line without its end, valid until the next read. The last line comes
// with io.EOF and may be empty. A line that is too long is skipped to its end.
func readLine(in *bufio.Reader) (line []byte, long bool, err error) {
	line, err = in.ReadSlice('\n')
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		_, err = in.ReadSlice('\n')
	}
	if long {
		return nil, true, err
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	return line, len(line) > MaxLine, err
}

// listParser reads one list.
type listParser struct {
	name     string
	origin   Origin
	discreet bool // see ParseFile
	stored   bool // see ParseStored

	take     func(Directive) error // of ParseExport; nil is a list, which has no directives
	exported bool                  // the mistake that it is an export was reported

	claims       []Claim
	warnings     []string
	moreWarnings int
	bad          mistakes

	seen      map[netip.Prefix]int32 // index into claims
	comments  []bool                 // by index into claims: its note is a comment, or it has none
	commented bool                   // likewise, of the last line
	names     map[string]string      // owners and services, so that a million lines share them
}

func (p *listParser) where(line int) string { return p.name + ":" + strconv.Itoa(line) }

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
	c.Origin, c.Where = p.origin, p.where(n)
	if warning != "" {
		p.warn(c.Where + ": " + warning)
	}
	if i, found := p.seen[c.Prefix]; found {
		other := &p.claims[i]
		if p.commented && p.comments[i] { // a comment says why, and not who may connect
			other.Note = cmp.Or(other.Note, c.Note)
			c.Note = other.Note
		}
		if !SameWords(c, *other) {
			p.mistake(n, inputErrorf("", "", "%s is also in %s, with other words", c.Prefix, other.Where))
		}
		return
	}
	p.seen[c.Prefix] = int32(len(p.claims))
	if len(p.claims) == cap(p.claims) { // append grows by a quarter, and would copy a long list five times
		p.claims = slices.Grow(p.claims, max(64, len(p.claims)))
	}
	p.claims, p.comments = append(p.claims, c), append(p.comments, p.commented)
}

func (p *listParser) mistake(n int, err error) {
	if input, ok := errors.AsType[*InputError](err); ok {
		input.Where = p.where(n)
	}
	p.bad.add(err)
}

func (p *listParser) warn(text string) {
	if len(p.warnings) == maxMessages {
		p.moreWarnings++
		return
	}
	p.warnings = append(p.warnings, text)
}

// SameWords reports whether two claims of one prefix say the same, whatever their origins.
func SameWords(a, b Claim) bool {
	return a.Owner == b.Owner && slices.Equal(a.Services, b.Services) && a.Until.Equal(b.Until) && a.Note == b.Note
}
