// This file reads the single fields of an entry, for lines and for flags.

package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxNote is the longest note in bytes. With 31 services and every character
// of the note escaped a line still fits MaxLine.
const MaxNote = 512

// maxName is the longest name of an owner or a service.
const maxName = 63

// ParseName checks the name of an owner or a service. kind, "owner" or "service", is for the
// message. Errors are *InputError without a Where.
func ParseName(kind, s string) error {
	if validName(s) {
		return nil
	}
	hint := strings.ToLower(s)
	if !validName(hint) {
		hint = ""
	}
	return inputErrorf("", hint, "%s %.64q is not 1 to %d of a-z 0-9 . _ - that begin with a letter or digit", kind, s, maxName)
}

func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxName
}

// ParseUntil reads an RFC 3339 time, or a date, which lasts to its end in UTC. The result is in
// UTC and never zero, because zero means for ever. Errors are *InputError without a Where.
func ParseUntil(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if date, e := time.Parse(time.DateOnly, s); e == nil {
		t, err = date.AddDate(0, 0, 1), nil
	}
	t = t.UTC()
	// Year 10000 could be written and not read again.
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, inputErrorf("", "",
			"until %.64q is not a date or an RFC 3339 time from 1970 to 9999, as 2027-01-31 or 2027-01-31T18:00:00Z", s)
	}
	return t, nil
}

// ParseDuration reads a duration such as "90d", "1w2d", "36h" or "90s": a week has seven days, a
// day 24 hours. The result is over 0. Errors are *InputError without a Where.
func ParseDuration(s string) (time.Duration, error) {
	total, last := time.Duration(0), time.Duration(math.MaxInt64)
	for rest := s; rest != ""; {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits <= 0 {
			return 0, badDuration(s)
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		unit := units[rest[digits]]
		// Units fall from left to right: in "5m1h" one of the two is a slip.
		if err != nil || unit == 0 || unit >= last || n > int64((math.MaxInt64-total)/unit) {
			return 0, badDuration(s)
		}
		total, last, rest = total+time.Duration(n)*unit, unit, rest[digits+1:]
	}
	if total == 0 {
		return 0, badDuration(s)
	}
	return total, nil
}

// FormatDuration writes d as ParseDuration reads it, in days and smaller units. It leaves out
// parts of a second.
func FormatDuration(d time.Duration) string {
	var text strings.Builder
	for _, unit := range []byte("dhms") {
		if n := d / units[unit]; n > 0 {
			fmt.Fprintf(&text, "%d%c", n, unit)
			d -= n * units[unit]
		}
	}
	return cmp.Or(text.String(), "0s")
}

var units = map[byte]time.Duration{
	'w': 7 * 24 * time.Hour, 'd': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second,
}

func badDuration(s string) error {
	return inputErrorf("", "", "%.64q is not a duration over 0 as 90d, 1w2d, 36h or 90s", s)
}

// ParseServices checks the names of an entry's services, and returns them sorted, each once.
// Without names the result is nil, which means every service. Errors are *InputError without a
// Where.
func ParseServices(names []string) ([]string, error) {
	for _, name := range names {
		if err := ParseName("service", name); err != nil {
			return nil, err
		}
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) > MaxServices {
		return nil, inputErrorf("", "", "%d services are more than %d", len(names), MaxServices)
	}
	return names, nil
}

// ParseInterface refuses what can never be the name of an interface. It does not ask whether
// there is one of that name: interfaces come and go. Errors are *InputError without a Where.
func ParseInterface(s string) error {
	const room = 128 // ALTIFNAMSIZ, with the final 0; a name proper has 16
	if s == "" || s == "." || s == ".." || len(s) >= room || strings.ContainsAny(s, "/: \t\n") {
		return inputErrorf("", "ip -br link", "%q is not the name of an interface", s)
	}
	return nil
}

// ParseGuarded is ParseInterface for an interface to guard; it refuses lo.
func ParseGuarded(s string) error {
	if s == "lo" {
		return inputErrorf("", "ip -br link", "lo is the loopback interface: the host's own clients come in by it, and would be dropped")
	}
	return ParseInterface(s)
}

// ParseNote checks a note: one line of printable UTF-8, at most MaxNote bytes.
// Errors are *InputError without a Where.
func ParseNote(s string) error {
	if len(s) > MaxNote {
		return inputErrorf("", "", "a note of %d bytes is longer than %d", len(s), MaxNote)
	}
	return checkText(s, false)
}

// StoredNote is ParseNote for a note that is stored already, perhaps by an earlier release that
// accepted more: if it were refused, a host would have no list after a reboot.
func StoredNote(s string) error {
	if len(s) > MaxNote {
		return ParseNote(s)
	}
	return checkText(s, true)
}

// format reports whether r can turn or hide the words of a line. The two joiners that some
// languages need are allowed.
func format(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\u200c' && r != '\u200d'
}

// checkText refuses what would not survive in a line, or would control the terminal of whoever
// lists it. A stored text may hold format characters.
func checkText(s string, stored bool) error {
	plain := func(c byte) bool { return c >= ' ' && c <= '~' || c == '\t' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	s = s[i:]
	if !utf8.ValidString(s) {
		return inputErrorf("", "", "invalid UTF-8")
	}
	for _, r := range s {
		if r != '\t' && unicode.IsControl(r) {
			return inputErrorf("", "", "control character %s", fmt.Sprintf("%U", r))
		}
		if !stored && format(r) {
			return inputErrorf("", "", "format character %s", fmt.Sprintf("%U", r))
		}
	}
	return nil
}
