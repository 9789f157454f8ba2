// This file is the table of the entries of a state. To change one entry among a million must
// cost as little as among ten, and the state before the change must stay whole.

package policy

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"
	"slices"
)

// Entries are the entries of a state, one for each prefix; the zero value has none. They do not
// change: an edit makes new Entries, which share all but a few nodes with these, so the old
// ones are there to go back to. Each *Entry that they return belongs to them and must not be
// written to.
type Entries struct{ root *node } // nil: none

// NewEntries returns a table of entries. Of a prefix that is there twice the last entry counts.
// Those of Merge are sorted already, which saves most of the time.
func NewEntries(entries []Entry) Entries {
	if !slices.IsSortedFunc(entries, func(a, b Entry) int { return max(0, ComparePrefix(a.Prefix, b.Prefix))*2 - 1 }) {
		entries = slices.Clone(entries)
		slices.Reverse(entries)
		slices.SortStableFunc(entries, func(a, b Entry) int { return ComparePrefix(a.Prefix, b.Prefix) })
		entries = slices.CompactFunc(entries, func(a, b Entry) bool { return a.Prefix == b.Prefix })
	}
	return Entries{root(split(entries, leaf))}
}

// Len returns how many entries there are.
func (e Entries) Len() int {
	ipv4, ipv6 := e.Families()
	return ipv4 + ipv6
}

// Families returns how many entries are IPv4 and how many IPv6.
func (e Entries) Families() (ipv4, ipv6 int) {
	if e.root == nil {
		return 0, 0
	}
	return e.root.sizes[0], e.root.sizes[1]
}

// All yields every entry, sorted by ComparePrefix.
func (e Entries) All() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		if e.root != nil {
			e.root.all(yield)
		}
	}
}

// Find returns the entry of exactly p.
func (e Entries) Find(p netip.Prefix) (*Entry, bool) {
	if entry := e.upTo(p); entry != nil && entry.Prefix == p {
		return entry, true
	}
	return nil, false
}

// Under yields the entries within p, p's own among them, sorted by ComparePrefix.
func (e Entries) Under(p netip.Prefix) iter.Seq[*Entry] {
	p = p.Masked()
	return func(yield func(*Entry) bool) {
		if e.root != nil && p.IsValid() {
			e.root.from(p, func(entry *Entry) bool { return p.Contains(entry.Prefix.Addr()) && yield(entry) })
		}
	}
}

// Covering yields the entries that cover p, p's own among them, longest first.
func (e Entries) Covering(p netip.Prefix) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for around := p.Masked(); around.IsValid(); {
			entry := e.upTo(around)
			if entry == nil {
				return
			}
			// What covers p and comes before entry covers entry, too: so it is as short as
			// what the two have in common.
			common := common(entry.Prefix.Addr(), p.Addr())
			if common >= entry.Prefix.Bits() {
				if !yield(entry) {
					return
				}
				common = entry.Prefix.Bits() - 1
			}
			around, _ = p.Addr().Prefix(common) // of -1 bits there is none
		}
	}
}

// common is how many bits a and b have in common; -1 where they are of two families.
func common(a, b netip.Addr) int {
	switch {
	case a.Is4() != b.Is4():
		return -1
	case a.Is4():
		x, y := a.As4(), b.As4()
		return bits.LeadingZeros32(binary.BigEndian.Uint32(x[:]) ^ binary.BigEndian.Uint32(y[:]))
	}
	x, y := a.As16(), b.As16()
	if n := bits.LeadingZeros64(binary.BigEndian.Uint64(x[:8]) ^ binary.BigEndian.Uint64(y[:8])); n < 64 {
		return n
	}
	return 64 + bits.LeadingZeros64(binary.BigEndian.Uint64(x[8:])^binary.BigEndian.Uint64(y[8:]))
}

func (e Entries) upTo(p netip.Prefix) *Entry {
	if e.root == nil {
		return nil
	}
	return e.root.upTo(p)
}

// with returns e after changes, which are sorted and name each prefix once.
func (e Entries) with(changes ...change) Entries {
	switch {
	case len(changes) == 0:
		return e
	case e.root == nil:
		return Entries{root(split(with(nil, changes), leaf))}
	}
	return Entries{root(e.root.with(changes))}
}
