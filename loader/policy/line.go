// This file is the grammar of one line, in both directions: parseLine reads what FormatLine
// writes.

package policy

import (
	"bufio"
	"cmp"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const blanks = " \t"

// parseLine reads one line. A line without an entry is the zero Claim. Errors
// are *InputError without a Where.
func (p *listParser) parseLine(text string) (c Claim, warning string, err error) {
	if err := checkText(text, true); err != nil { // a note is checked again, and more strictly
		return c, "", err
	}
	rest := strings.TrimLeft(text, blanks)
	if rest == "" || rest[0] == '#' {
		return c, "", nil
	}
	end := strings.IndexAny(rest, " \t#")
	if end < 0 {
		end = len(rest)
	}
	if c.Prefix, warning, err = ParsePrefix(rest[:end]); err != nil {
		if p.discreet && !looksLikeAddress(rest[:end]) {
			err = inputErrorf("", "", "does not begin with a prefix or an address (not quoted: it may be no list)")
		}
		return c, "", err
	}
	noted := false
	for rest = strings.TrimLeft(rest[end:], blanks); rest != "" && rest[0] != '#'; rest = strings.TrimLeft(rest, blanks) {
		var key, value string
		if key, value, rest, err = cutField(rest); err != nil {
			return c, "", cmp.Or(spacedForm(text), err)
		}
		if key == "note" && noted {
			return c, "", inputErrorf("", "", "note is given twice")
		}
		noted = noted || key == "note"
		if err := p.set(&c, key, value); err != nil {
			return c, "", err
		}
	}
	if p.commented = !noted; p.commented && rest != "" {
		c.Note = strings.Trim(rest[1:], blanks)
	}
	slices.Sort(c.Services)
	c.Services = slices.Compact(c.Services)
	if len(c.Services) > MaxServices {
		return c, "", inputErrorf("", "", "%d services are more than %d", len(c.Services), MaxServices)
	}
	if p.stored {
		return c, warning, StoredNote(c.Note)
	}
	return c, warning, ParseNote(c.Note)
}

// spacedForm returns an *InputError where a line begins with a range or a netmask that is
// written with blanks, "10.0.0.5 - 10.0.0.9" or "10.0.0.0 255.255.255.0", else nil.
func spacedForm(line string) error {
	words := strings.Fields(line)
	if len(words) > 2 && words[1] == "-" {
		return otherForm(words[0] + "-" + words[2])
	}
	if len(words) > 1 {
		mask, err := netip.ParseAddr(words[1])
		if err != nil || !mask.Is4() {
			return nil
		}
		if _, contiguous := maskLength(mask); contiguous { // else it is the next address
			return otherForm(words[0] + "/" + words[1])
		}
	}
	return nil
}

// looksLikeAddress reports whether word may be a mistyped prefix or address: it has only
// digits and what stands between them.
func looksLikeAddress(word string) bool {
	if addr, err := netip.ParseAddr(word); err == nil && addr.Zone() != "" {
		return true
	}
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128") * 2 // of a range
	return len(word) <= longest && strings.ContainsAny(word, ".:/") && strings.Trim(word, "0123456789abcdefABCDEF.:/-%*") == ""
}

// ParseLine reads one line of the list grammar from somewhere else than a list file. A line
// without an entry is the zero Claim. Errors are *InputError without a Where.
func ParseLine(text string) (c Claim, warning string, err error) {
	p := listParser{names: map[string]string{}}
	return p.parseLine(text)
}

// set sets one field of c.
func (p *listParser) set(c *Claim, key, value string) (err error) {
	switch {
	case key == "owner" && c.Owner != "", key == "until" && !c.Until.IsZero():
		return inputErrorf("", "", "%s is given twice", key)
	case key == "owner":
		c.Owner, err = p.parseName(key, value)
	case key == "until":
		c.Until, err = ParseUntil(value)
	case key == "note":
		c.Note = value
	case key == "service":
		for name := range strings.SplitSeq(value, ",") {
			if name, err = p.parseName(key, name); err != nil {
				return err
			}
			c.Services = append(c.Services, name)
		}
	default:
		return inputErrorf("", "", "unknown key %.64q: the keys are owner, service, until, note", key)
	}
	return err
}

// parseName is ParseName with one string for each name, however often it comes.
func (p *listParser) parseName(kind, s string) (string, error) {
	if name, known := p.names[s]; known {
		return name, nil
	}
	if err := ParseName(kind, s); err != nil {
		return "", err
	}
	name := strings.Clone(s) // else it keeps its whole line in memory
	p.names[name] = name
	return name, nil
}

// cutField cuts key=value or key="value" off the front of s.
func cutField(s string) (key, value, rest string, err error) {
	end := strings.IndexAny(s, "= \t#")
	if end < 0 || s[end] != '=' {
		word, _, _ := strings.Cut(strings.ReplaceAll(s, "\t", " "), " ")
		return "", "", "", inputErrorf("", "", "%.64q is not key=value (one prefix a line)", word)
	}
	key, s = s[:end], s[end+1:]
	if strings.HasPrefix(s, `"`) {
		value, rest, err = cutQuoted(key, s[1:])
		return key, value, rest, err
	}
	if end = strings.IndexAny(s, blanks); end < 0 {
		end = len(s)
	}
	value, rest = s[:end], s[end:]
	if strings.ContainsAny(value, `"#`) {
		return "", "", "", inputErrorf("", key+"="+quote(value), `%.64s holds " or # and is not quoted`, key)
	}
	return key, value, rest, nil
}

// cutQuoted cuts the value and its closing quote off the front of s.
func cutQuoted(key, s string) (value, rest string, err error) {
	if end := strings.IndexAny(s, `"\`); end >= 0 && s[end] == '"' {
		return s[:end], s[end+1:], afterQuote(key, s[end+1:])
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], afterQuote(key, s[i+1:])
		case s[i] == '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", inputErrorf("", "", `%.64s: only \" and \\ are escapes`, key)
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", inputErrorf("", "", "%.64s: no closing quote", key)
}

func afterQuote(key, rest string) error {
	if rest == "" || strings.ContainsRune(" \t#", rune(rest[0])) {
		return nil
	}
	return inputErrorf("", "", "%.64s: no blank after the closing quote", key)
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quote(s string) string { return `"` + escaper.Replace(s) + `"` }

// FormatLine returns the line that ParseList reads as e again, without its end. Origin and Where
// are not part of a line.
func FormatLine(e Claim) string { return string(AppendLine(nil, e)) }

// AppendLine appends FormatLine to b.
func AppendLine(b []byte, e Claim) []byte {
	b = e.Prefix.AppendTo(b)
	if e.Owner != "" {
		b = append(append(b, " owner="...), e.Owner...)
	}
	for i, name := range e.Services {
		separator := ","
		if i == 0 {
			separator = " service="
		}
		b = append(append(b, separator...), name...)
	}
	if !e.Until.IsZero() {
		b = e.Until.UTC().AppendFormat(append(b, " until="...), time.RFC3339Nano)
	}
	if e.Note != "" {
		b = append(append(b, " note="...), quote(e.Note)...)
	}
	return b
}

// WriteLines writes a line for each claim to w. Errors are those of w.
func WriteLines(w io.Writer, claims iter.Seq[Claim]) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	for c := range claims {
		line = append(AppendLine(line[:0], c), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}
