// This file is the grammar of what an export has beside entries: suspensions and limits, one
// in a line. A list with such a line is refused: a reader of entries alone would lose it, and
// let in who is suspended.

package policy

import (
	"io"
	"slices"
	"strings"
)

// Directive is a line of an export that is no entry, for example
//
//	suspend acme since=2026-11-28T14:00:00Z by=0 held=1 reason="OPS-1301, stolen key"
//	held acme 203.0.113.0/24
//	stays acme 203.0.113.7/32 owner=globex
//	limit acme 200/s burst=400
type Directive struct {
	Words  []string // the keyword and what it is about
	Fields []Field
}

// Field is key=value.
type Field struct{ Key, Value string }

// directives are the keywords, each with the words behind it and its keys.
var directives = map[string]struct{ words, keys []string }{
	"suspend": {[]string{"PREFIX|OWNER"}, []string{"since", "by", "nested", "held", "reason"}},
	"held":    {[]string{"OWNER", "PREFIX"}, nil},
	"stays":   {[]string{"OWNER", "PREFIX"}, []string{"owner"}},
	"limit":   {[]string{"OWNER", "RATE"}, []string{"burst"}},
}

// Get returns the value of key, "" when it is not given.
func (d Directive) Get(key string) string {
	for _, f := range d.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// String returns the line that is read as d again.
func (d Directive) String() string {
	words := slices.Clone(d.Words)
	for _, f := range d.Fields {
		value := f.Value
		if value == "" || strings.ContainsAny(value, " \t\"\\#") {
			value = quote(value)
		}
		words = append(words, f.Key+"="+value)
	}
	return strings.Join(words, " ")
}

// keyword returns the first word of text if it is the keyword of a directive, else "".
func keyword(text string) string {
	word := strings.TrimLeft(text, blanks)
	if word == "" || word[0] < 'g' { // a prefix, of which there may be a million
		return ""
	}
	if end := strings.IndexAny(word, " \t#"); end >= 0 {
		word = word[:end]
	}
	if _, found := directives[word]; found {
		return word
	}
	return ""
}

// parseDirective reads a line that begins with a keyword. Errors are *InputError without
// a Where.
func parseDirective(text string) (d Directive, err error) {
	if err := checkText(text, true); err != nil {
		return d, err
	}
	want, rest := directives[keyword(text)], strings.TrimLeft(text, blanks)
	for rest != "" && rest[0] != '#' && len(d.Words) <= len(want.words) {
		end := strings.IndexAny(rest, " \t#")
		if end < 0 {
			end = len(rest)
		}
		d.Words, rest = append(d.Words, rest[:end]), strings.TrimLeft(rest[end:], blanks)
	}
	for ; rest != "" && rest[0] != '#'; rest = strings.TrimLeft(rest, blanks) {
		var f Field
		if f.Key, f.Value, rest, err = cutField(rest); err != nil {
			return d, err
		}
		switch {
		case !slices.Contains(want.keys, f.Key):
			return d, inputErrorf("", "", "%s has no key %.64q", d.Words[0], f.Key)
		case slices.ContainsFunc(d.Fields, func(o Field) bool { return o.Key == f.Key }):
			return d, inputErrorf("", "", "%s is given twice", f.Key)
		}
		d.Fields = append(d.Fields, f)
	}
	if len(d.Words) <= len(want.words) {
		return d, inputErrorf("", "", "%s needs %s", d.Words[0], strings.Join(want.words, " "))
	}
	return d, nil
}

// ParseExport is ParseSorted for an export, whose entries have OriginCLI. It calls take for each
// directive; an error of take is a mistake in that line.
func ParseExport(name string, r io.Reader, take func(Directive) error) (claims []Claim, warnings []string, err error) {
	return parseList(listParser{name: name, origin: OriginCLI, take: take, sorted: true}, r)
}

// direct reads line n, which is a directive. In a list it is a mistake, reported once.
func (p *listParser) direct(n int, text string) {
	if p.take != nil {
		d, err := parseDirective(text)
		if err == nil {
			err = p.take(d)
		}
		if err != nil {
			p.mistake(n, err)
		}
		return
	}
	if p.export != nil {
		return
	}
	file := p.name
	if file == "stdin" {
		file = "-"
	}
	p.export = inputErrorf("", "xdpallow import "+file,
		"%q is a line of xdpallow export: here it would be lost who is suspended or limited", keyword(text))
	p.mistake(n, p.export)
}
