// This file stops prefixes and owners over all that origins say: an entry stays what
// it is, and lets nobody in while it is suspended.

package policy

import (
	"iter"
	"maps"
	"net/netip"
	"time"

	"github.com/gaissmai/bart"
)

// Suspended is who is stopped, whoever lists it: prefixes, each with all that lies in
// it, and owners. The zero value stops nobody. It does not change.
type Suspended struct {
	prefixes *bart.Lite // nil: none
	owners   map[string]bool
}

// NewSuspended stops prefixes and owners.
func NewSuspended(prefixes []netip.Prefix, owners []string) Suspended {
	s := Suspended{owners: make(map[string]bool, len(owners))}
	if len(prefixes) > 0 {
		s.prefixes = new(bart.Lite)
	}
	for _, p := range prefixes {
		s.prefixes.Insert(p)
	}
	for _, owner := range owners {
		s.owners[owner] = true
	}
	return s
}

// Owner reports whether the owner of that name is stopped by it.
func (s Suspended) Owner(name string) bool { return s.owners[name] }

// Exactly reports whether p is stopped by its own name.
func (s Suspended) Exactly(p netip.Prefix) bool { return s.prefixes != nil && s.prefixes.Get(p) }

// Covers reports whether p lies within a prefix that is stopped.
func (s Suspended) Covers(p netip.Prefix) bool {
	return s.prefixes != nil && s.prefixes.LookupPrefix(p)
}

// Prefixes yields the prefixes that are stopped, sorted by ComparePrefix.
func (s Suspended) Prefixes() iter.Seq[netip.Prefix] {
	if s.prefixes == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return s.prefixes.AllSorted()
}

// Under yields the prefixes within p that are stopped, p itself among them.
func (s Suspended) Under(p netip.Prefix) iter.Seq[netip.Prefix] {
	if s.prefixes == nil {
		return func(func(netip.Prefix) bool) {}
	}
	return s.prefixes.Subnets(p)
}

// longest is the longest stopped prefix that p lies in.
func (s Suspended) longest(p netip.Prefix) (netip.Prefix, bool) {
	if s.prefixes == nil {
		return netip.Prefix{}, false
	}
	return s.prefixes.LookupPrefixLPM(p)
}

// Equal reports whether s and b stop the same.
func (s Suspended) Equal(b Suspended) bool {
	if (s.prefixes == nil) != (b.prefixes == nil) || s.prefixes != nil && !s.prefixes.Equal(b.prefixes) {
		return false
	}
	return maps.Equal(s.owners, b.owners)
}

// IsSuspended reports whether e lets nobody in, by its prefix or by its owner.
func (s State) IsSuspended(e *Entry) bool {
	return e.Suspended || s.Suspended.Owner(e.Owner) || s.Suspended.Covers(e.Prefix)
}

// Enforced is the entry that the kernel is to have at exactly p: the one of the list,
// suspended where its prefix is. Its owner's suspension is left out, for the kernel
// has that once an owner.
//
// A stopped prefix that lies within a listed one has an entry of its own, for every
// service and for ever, whatever is listed there: who is refused by it must not come in
// by the prefix around.
func (s State) Enforced(p netip.Prefix) (Entry, bool) {
	listed, found := s.Entries.Find(p)
	if s.Suspended.Exactly(p) {
		for around := range s.Entries.Covering(p) {
			if around.Prefix == p {
				continue
			}
			stop := Entry{Prefix: p, Owner: around.Owner}
			if found {
				stop = *listed
			}
			stop.Services, stop.Until, stop.Suspended = nil, time.Time{}, true
			return stop, true
		}
	}
	if !found {
		return Entry{}, false
	}
	entry := *listed
	entry.Suspended = entry.Suspended || s.Suspended.Covers(p)
	return entry, true
}

// AllEnforced yields every entry that the kernel is to have: first those that are
// listed, sorted by ComparePrefix, then those that only a suspension makes, likewise.
func (s State) AllEnforced() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for listed := range s.Entries.All() {
			entry := *listed
			if s.Suspended.Covers(entry.Prefix) {
				entry, _ = s.Enforced(entry.Prefix)
			}
			if !yield(entry) {
				return
			}
		}
		for p := range s.Suspended.Prefixes() {
			if _, found := s.Entries.Find(p); found {
				continue
			}
			if entry, found := s.Enforced(p); found && !yield(entry) {
				return
			}
		}
	}
}
