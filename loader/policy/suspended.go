// This file stops prefixes and owners over all that origins say: an entry stays what
// it is, and lets nobody in while it is suspended.

package policy

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

// Suspended is who is stopped, whoever lists it: prefixes, each with all that lies in
// it, and owners with their networks. The zero value stops nobody. It does not change.
type Suspended struct {
	marks  *bart.Table[*mark] // nil: none
	owners map[string]bool
}

// mark is what suspensions say of one prefix.
type mark struct {
	byName bool     // it is suspended itself
	held   []string // suspended owners whose prefix it is or was
	stays  []exempt
}

// exempt lets the entry of owner go on though it lies in the network of another who is
// suspended.
type exempt struct{ suspended, owner string }

// NewSuspended stops prefixes and owners.
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
	sorted := slices.SortedFunc(slices.Values(owners), func(a, b Hold) int { return strings.Compare(a.Owner, b.Owner) })
	for _, h := range sorted {
		s.owners[h.Owner] = true
		for _, p := range h.Held {
			m := at(p)
			m.held = append(m.held, h.Owner)
		}
		for _, stay := range h.Stays {
			m := at(stay.Prefix)
			m.stays = append(m.stays, exempt{h.Owner, stay.Owner})
		}
	}
	return s
}

// Owner reports whether the owner of that name is stopped by it.
func (s Suspended) Owner(name string) bool { return s.owners[name] }

// Stops yields the prefixes that are suspended, or that are or were those of a suspended
// owner; sorted by ComparePrefix.
func (s Suspended) Stops() iter.Seq[netip.Prefix] {
	if s.marks == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return stops(s.marks.AllSorted())
}

// StopsUnder yields those of Stops within p, p itself among them.
func (s Suspended) StopsUnder(p netip.Prefix) iter.Seq[netip.Prefix] {
	if s.marks == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return stops(s.marks.Subnets(p))
}

// stopsOver yields those of Stops that cover p, the longest first.
func (s Suspended) stopsOver(p netip.Prefix) iter.Seq[netip.Prefix] {
	if s.marks == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return stops(s.marks.Supernets(p))
}

// HeldBy yields the prefixes that are or were those of a suspended owner.
func (s Suspended) HeldBy(owner string) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if s.marks == nil {
			return
		}
		for p, m := range s.marks.AllSorted() {
			if slices.Contains(m.held, owner) && !yield(p) {
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

// byName is the longest prefix around p that is suspended itself.
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

// holder is the suspended owner in whose network p lies, of entries. The nearest that is
// said of p decides for each of them: that the prefix was his, or that it was another's
// before. With only, no other owner is asked.
func (s Suspended) holder(entries Entries, p netip.Prefix, only string) (owner string, found bool) {
	if s.marks == nil {
		return "", false
	}
	var free []string
	for around, m := range s.marks.Supernets(p) {
		for _, owner := range m.held {
			if (only == "" || only == owner) && !slices.Contains(free, owner) {
				return owner, true
			}
		}
		for _, stay := range m.stays {
			if entry, listed := entries.Find(around); listed && entry.Owner == stay.owner {
				free = append(free, stay.suspended)
			}
		}
	}
	return "", false
}

// Equal reports whether s and b stop the same.
func (s Suspended) Equal(b Suspended) bool {
	if s.marks != b.marks && (s.marks == nil || b.marks == nil || !s.marks.Equal(b.marks)) {
		return false
	}
	return maps.Equal(s.owners, b.owners)
}

// Changed yields the prefixes of which s and b say different things, in no order.
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

// IsSuspended reports whether e lets nobody in.
func (s State) IsSuspended(e *Entry) bool {
	if e.Suspended || s.Suspended.owners[s.OwnerOf(e)] {
		return true
	}
	_, stopped := s.Suspended.byName(e.Prefix)
	return stopped
}

// SuspendedBy says what stops e: the longest suspended prefix around it, or an owner.
// Neither is there when nothing does.
func (s State) SuspendedBy(e *Entry) (prefix netip.Prefix, owner string) {
	if prefix, found := s.Suspended.byName(e.Prefix); found {
		return prefix, ""
	}
	if owner := s.OwnerOf(e); s.Suspended.owners[owner] {
		return netip.Prefix{}, owner
	}
	return netip.Prefix{}, ""
}

// IsStop reports whether the kernel needs an entry at p that stops p whatever the entry
// there says: it is one of Stops, and a wider entry would let its sources in.
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

// Enforced is the entry that the kernel is to have at exactly p: the one of the list,
// with the owner for whom it counts, suspended where its prefix is. That an owner is
// suspended is left out, for the kernel has it once an owner.
//
// A stop within a wider entry has an entry of its own, for every service and for ever,
// whatever is listed there: who is refused by it must not come in by the prefix around.
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
	entry.Owner, entry.Suspended = s.OwnerOf(&entry), entry.Suspended || byName
	if stop {
		entry.Services, entry.Until = nil, time.Time{}
	}
	return entry, true
}

// AllEnforced yields every entry that the kernel is to have: first those that are
// listed, sorted by ComparePrefix, then those that only a suspension makes, likewise.
func (s State) AllEnforced() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for listed := range s.Entries.All() {
			entry := *listed
			if s.Suspended.marks != nil {
				entry, _ = s.Enforced(entry.Prefix)
			} else if entry.Owner == "" {
				entry.Owner = s.Entries.OwnerOf(listed)
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
