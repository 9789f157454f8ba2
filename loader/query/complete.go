package query

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file completes prefixes at the Tab key, where nobody reads through a million of them.

// mostCompletions is how many whole prefixes are offered: a screen full and more.
const mostCompletions = 500

// Complete returns the prefixes on the list that begin with begin, of those that only add made if
// made says so. When they are too many it returns how they go on: "203.0." and "203.2." for
// "203.".
func (v *View) Complete(begin string, made bool) []string {
	if strings.Trim(begin, "0123456789abcdef.:/") != "" {
		return nil
	}
	for {
		found, stems := v.beginning(begin, made)
		if len(found) <= mostCompletions {
			return found
		}
		if len(stems) != 1 {
			return stems
		}
		begin = stems[0] // the one way to go on is no choice
	}
}

// beginning returns the prefixes that begin with begin, no more than one too many, and how all of
// them go on: up to the next dot, colon or slash, or to their end.
func (v *View) beginning(begin string, made bool) (found, stems []string) {
	var text, last []byte
	for e := range v.Policy.Entries.All() {
		if !mayBegin(begin, e.Prefix.Addr()) || made && !onlyMade(e) {
			continue
		}
		text = e.Prefix.AppendTo(text[:0])
		if !bytes.HasPrefix(text, []byte(begin)) {
			continue
		}
		if len(found) <= mostCompletions {
			found = append(found, string(text))
		}
		stem := text
		if i := bytes.IndexAny(text[len(begin):], ".:/"); i >= 0 {
			stem = text[:len(begin)+i+1]
		}
		if !bytes.Equal(stem, last) {
			last = append(last[:0], stem...)
			stems = append(stems, string(stem))
		}
	}
	slices.Sort(stems)
	return found, slices.Compact(stems)
}

// mayBegin saves the text of what is of the other family.
func mayBegin(begin string, addr netip.Addr) bool {
	switch {
	case strings.Contains(begin, ":"):
		return addr.Is6()
	case strings.Contains(begin, "."):
		return addr.Is4()
	}
	return true
}

// onlyMade reports whether remove can take e away.
func onlyMade(e *policy.Entry) bool { return !e.Declared() }
