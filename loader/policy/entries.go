// This file is the table of the entries of a state. To change one entry among a million must
// cost as little as among ten, and the state before the change must stay whole.

package policy

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/tree"
)

// Entries are the entries of a state, one for each prefix; the zero value has none. They do not
// change: an edit makes new Entries, which share all but a few nodes with these, so the old
// ones are there to go back to. Each *Entry that they return belongs to them and must not be
// written to.
type Entries struct {
	tree    tree.Tree[Place, Entry]
	several tree.Tree[Place, several] // those of several claims, which time may change
}

// several is the prefix of an entry of several claims.
type several netip.Prefix

// Key is its place.
func (s several) Key() Place { return Place(s) }

// Mark is that of all.
func (s several) Mark() uint8 { return 0 }

// Place is where the entry of a prefix stands among others: by ComparePrefix.
type Place netip.Prefix

// Compare is ComparePrefix.
func (a Place) Compare(b Place) int { return ComparePrefix(netip.Prefix(a), netip.Prefix(b)) }

// Key is the place of e.
func (e Entry) Key() Place { return Place(e.Prefix) }

// Mark is one that the entries of one owner have, and of few others.
func (e Entry) Mark() uint8 { return e.words().mark }

var markSeed = maphash.MakeSeed()

func markOf(owner string) uint8 { return uint8(maphash.String(markSeed, owner)) }

// change is what becomes of one prefix.
type change = tree.Change[Place, Entry]

// NewEntries returns a table of entries. Of a prefix that is there twice the last entry counts.
// Those of Merge are sorted already, which saves most of the time.
func NewEntries(entries []Entry) Entries {
	if !slices.IsSortedFunc(entries, func(a, b Entry) int { return max(0, ComparePrefix(a.Prefix, b.Prefix))*2 - 1 }) {
		entries = slices.Clone(entries)
		slices.Reverse(entries)
		slices.SortStableFunc(entries, func(a, b Entry) int { return ComparePrefix(a.Prefix, b.Prefix) })
		entries = slices.CompactFunc(entries, func(a, b Entry) bool { return a.Prefix == b.Prefix })
	}
	var more []several
	for i := range entries {
		if entries[i].Several() {
			more = append(more, several(entries[i].Prefix))
		}
	}
	return Entries{tree.New[Place](entries), tree.New[Place](more)}
}

// Len returns how many entries there are.
func (e Entries) Len() int { return e.tree.Len() }

// Families returns how many entries are IPv4 and how many IPv6.
func (e Entries) Families() (ipv4, ipv6 int) {
	ipv4 = e.tree.Before(Place(netip.PrefixFrom(netip.IPv6Unspecified(), 0)))
	return ipv4, e.Len() - ipv4
}

// All yields every entry, sorted by ComparePrefix.
func (e Entries) All() iter.Seq[*Entry] { return e.tree.All() }

// OwnedBy yields the entries of the owner of that name, sorted by ComparePrefix.
func (e Entries) OwnedBy(owner string) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for entry := range e.tree.Marked(markOf(owner)) {
			if entry.Owner() == owner && !yield(entry) {
				return
			}
		}
	}
}

// Find returns the entry of exactly p.
func (e Entries) Find(p netip.Prefix) (*Entry, bool) {
	entry := e.tree.Find(Place(p))
	return entry, entry != nil
}

// finder returns a function that finds the entries of that many prefixes, which it is asked for in
// the order of ComparePrefix; nil where there is none.
func (e Entries) finder(prefixes int) func(netip.Prefix) *Entry {
	if prefixes <= e.Len()/8 {
		return func(p netip.Prefix) *Entry { return e.tree.Find(Place(p)) }
	}
	rest := slices.Collect(e.All()) // to walk over all takes less
	return func(p netip.Prefix) *Entry {
		for len(rest) > 0 && ComparePrefix(rest[0].Prefix, p) < 0 {
			rest = rest[1:]
		}
		if len(rest) == 0 || rest[0].Prefix != p {
			return nil
		}
		return rest[0]
	}
}

// Under yields the entries within p, p's own among them, sorted by ComparePrefix.
func (e Entries) Under(p netip.Prefix) iter.Seq[*Entry] {
	p = p.Masked()
	return func(yield func(*Entry) bool) {
		for entry := range e.tree.From(Place(p)) {
			if !p.Contains(entry.Prefix.Addr()) || !yield(entry) {
				return
			}
		}
	}
}

// Covering yields the entries that cover p, p's own among them, longest first.
func (e Entries) Covering(p netip.Prefix) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for around := p.Masked(); around.IsValid(); {
			entry := e.tree.UpTo(Place(around))
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

// with returns e after changes, which are sorted and name each prefix once.
func (e Entries) with(changes ...change) Entries {
	var more []tree.Change[Place, several]
	for _, c := range changes {
		one := several(c.Key)
		if c.Item != nil && c.Item.Several() {
			more = append(more, tree.Change[Place, several]{Key: c.Key, Item: &one})
		} else if e.several.Find(c.Key) != nil {
			more = append(more, tree.Change[Place, several]{Key: c.Key})
		}
	}
	return Entries{e.tree.With(changes...), e.several.With(more...)}
}
