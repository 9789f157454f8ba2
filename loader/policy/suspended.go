// This file stops prefixes and owners, whatever the origins say. A suspended entry stays on the
// list and lets nobody in.

package policy

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
)

// Suspended is what is stopped, whoever lists it: prefixes, each with everything inside it, and
// owners with their networks. The zero value stops nothing. A Suspended does not change.
type Suspended struct {
	marks  *bart.Table[*mark] // nil: none
	owners map[string]bool
}

// mark is what suspensions say about one prefix.
type mark struct {
	byName bool      // the prefix itself is suspended
	held   []stopper // suspended owners whose prefix it is, or was while they were suspended
	stays  []exempt
}

// stopper is a suspended owner, and who suspends him.
type stopper struct {
	owner string
	by    Origin
}

// exempt lets the entry of owner go on although it lies in the network of another one, who is
// suspended.
type exempt struct {
	suspended stopper
	owner     string
}

// NewSuspended returns a Suspended that stops prefixes and owners.
func NewSuspended(prefixes []netip.Prefix, owners []Hold) Suspended {
	s := Suspended{owners: make(map[string]bool, len(owners))}
	at := func(p netip.Prefix) *mark {
		if s.marks == nil {
			s.marks = new(bart.Table[*mark])
		}
		m, found := s.marks.Get(p)
		if !found {
			m = new(mark)
			s.marks.Insert(p, m)
		}
		return m
	}
	for _, p := range prefixes {
		at(p).byName = true
	}
	sorted := slices.SortedFunc(slices.Values(owners), func(a, b Hold) int {
		return cmp.Or(strings.Compare(a.Owner, b.Owner), cmp.Compare(a.By, b.By))
	})
	for _, h := range sorted {
		s.owners[h.Owner] = true
		by := stopper{h.Owner, h.By}
		for _, p := range h.Held {
			m := at(p)
			m.held = append(m.held, by)
		}
		for _, stay := range h.Stays {
			m := at(stay.Prefix)
			m.stays = append(m.stays, exempt{by, stay.Owner})
		}
	}
	return s
}

// Owner reports whether the owner of that name is suspended.
func (s Suspended) Owner(name string) bool { return s.owners[name] }

// Stops yields the prefixes that are suspended themselves or held for a suspended owner, sorted
// by ComparePrefix.
func (s Suspended) Stops() iter.Seq[netip.Prefix] {
	if s.marks == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return stops(s.marks.AllSorted())
}

// StopsUnder yields those of Stops inside p, with p itself.
func (s Suspended) StopsUnder(p netip.Prefix) iter.Seq[netip.Prefix] {
	if s.marks == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return stops(s.marks.Subnets(p))
}

// stopsOver yields those of Stops that cover p, with p itself, the longest first.
func (s Suspended) stopsOver(p netip.Prefix) iter.Seq[netip.Prefix] {
	if s.marks == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return stops(s.marks.Supernets(p))
}

// HeldBy yields the prefixes that are held for a suspended owner, sorted by ComparePrefix.
func (s Suspended) HeldBy(owner string) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if s.marks == nil {
			return
		}
		for p, m := range s.marks.AllSorted() {
			if slices.ContainsFunc(m.held, func(by stopper) bool { return by.owner == owner }) && !yield(p) {
				return
			}
		}
	}
}

func stops(marks iter.Seq2[netip.Prefix, *mark]) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for p, m := range marks {
			if (m.byName || len(m.held) > 0) && !yield(p) {
				return
			}
		}
	}
}

// Stopped reports whether p is one of Stops.
func (s Suspended) Stopped(p netip.Prefix) bool {
	if s.marks == nil {
		return false
	}
	m, found := s.marks.Get(p)
	return found && (m.byName || len(m.held) > 0)
}

// byName returns the longest prefix around p that is suspended itself.
func (s Suspended) byName(p netip.Prefix) (netip.Prefix, bool) {
	if s.marks != nil {
		for around, m := range s.marks.Supernets(p) {
			if m.byName {
				return around, true
			}
		}
	}
	return netip.Prefix{}, false
}

// holder returns the suspended owner in whose network p lies, by the owners in entries. For each
// suspension the nearest mark around p decides: that the prefix was his, or that it was somebody
// else's before. With only, it considers no other one.
func (s Suspended) holder(entries Entries, p netip.Prefix, only *stopper) (owner string, found bool) {
	if s.marks == nil {
		return "", false
	}
	var free []stopper
	for around, m := range s.marks.Supernets(p) {
		for _, by := range m.held {
			if (only == nil || *only == by) && !slices.Contains(free, by) {
				return by.owner, true
			}
		}
		for _, stay := range m.stays {
			if entry, listed := entries.Find(around); listed && entry.Owner() == stay.owner {
				free = append(free, stay.suspended)
			}
		}
	}
	return "", false
}

// Equal reports whether s and b stop the same prefixes and owners.
func (s Suspended) Equal(b Suspended) bool {
	if s.marks != b.marks && (s.marks == nil || b.marks == nil || !s.marks.Equal(b.marks)) {
		return false
	}
	return maps.Equal(s.owners, b.owners)
}

// Changed yields the prefixes whose marks differ between s and b, in no order.
func (s Suspended) Changed(b Suspended) iter.Seq[netip.Prefix] {
	same := func(a, b *mark) bool {
		return a.byName == b.byName && slices.Equal(a.held, b.held) && slices.Equal(a.stays, b.stays)
	}
	return func(yield func(netip.Prefix) bool) {
		for _, pair := range [][2]*bart.Table[*mark]{{s.marks, b.marks}, {b.marks, s.marks}} {
			if pair[0] == nil || s.marks == b.marks {
				continue
			}
			for p, m := range pair[0].All() {
				other, found := (*mark)(nil), false
				if pair[1] != nil {
					other, found = pair[1].Get(p)
				}
				if found && (pair[0] == b.marks || same(m, other)) {
					continue
				}
				if !yield(p) {
					return
				}
			}
		}
	}
}

// IsSuspended reports whether a suspension stops e.
func (s State) IsSuspended(e *Entry) bool {
	if s.Suspended.marks == nil && len(s.Suspended.owners) == 0 { // nobody is, of a million who are asked of
		return e.Suspended
	}
	if e.Suspended || s.Suspended.owners[s.OwnerOf(e)] {
		return true
	}
	_, stopped := s.Suspended.byName(e.Prefix)
	return stopped
}

// SuspendedBy returns what stops e: the longest suspended prefix around it, or a suspended owner.
// Both are zero where nothing stops it.
func (s State) SuspendedBy(e *Entry) (prefix netip.Prefix, owner string) {
	if prefix, found := s.Suspended.byName(e.Prefix); found {
		return prefix, ""
	}
	if owner := s.OwnerOf(e); s.Suspended.owners[owner] {
		return netip.Prefix{}, owner
	}
	return netip.Prefix{}, ""
}

// IsStop reports whether the kernel needs an entry at p that stops p, whatever is listed there:
// p is one of Stops, and a wider entry would let its sources in.
func (s State) IsStop(p netip.Prefix) bool {
	if !s.Suspended.Stopped(p) {
		return false
	}
	for around := range s.Entries.Covering(p) {
		if around.Prefix != p && !s.IsSuspended(around) {
			return true
		}
	}
	return false
}

// Enforced returns the entry that the kernel must have at exactly p: the listed one, with the
// owner for whom it counts, and suspended where its prefix is. The kernel knows once for each
// owner whether he is suspended, so that is not part of the entry.
//
// A stop inside a wider entry has an entry of its own, for every service and for ever, whatever
// is listed there: a source that it refuses must not come in by the wider entry.
func (s State) Enforced(p netip.Prefix) (Entry, bool) {
	listed, found := s.Entries.Find(p)
	stop := s.IsStop(p)
	if !found && !stop {
		return Entry{}, false
	}
	entry := Entry{Prefix: p}
	if found {
		entry = *listed
	}
	_, byName := s.Suspended.byName(p)
	entry = entry.ownedBy(s.OwnerOf(&entry))
	entry.Suspended = entry.Suspended || byName
	if stop {
		entry = entry.forAll()
	}
	return entry, true
}

// AllEnforced yields every entry that the kernel must have: first the listed ones, sorted by
// ComparePrefix, then those that only a suspension makes, sorted likewise.
func (s State) AllEnforced() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for listed, owner := range s.Entries.Owned() {
			entry := *listed
			if s.Suspended.marks != nil {
				entry, _ = s.Enforced(entry.Prefix)
			} else if owner != entry.Owner() {
				entry = entry.ownedBy(owner)
			}
			if !yield(entry) {
				return
			}
		}
		for p := range s.Suspended.Stops() {
			if _, found := s.Entries.Find(p); found {
				continue
			}
			if entry, found := s.Enforced(p); found && !yield(entry) {
				return
			}
		}
	}
}
