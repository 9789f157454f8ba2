// This file finds the owner of a prefix. An owner's network is what is listed for him, and what
// lies inside that without an owner. A suspended owner keeps what he had when he was suspended.

package policy

import (
	"iter"
	"net/netip"
	"slices"
	"time"
)

// OwnerOf returns the owner of entry, or where it has none that of the longest entry around it
// that has one; "" is nobody. Entries that have ended count: the kernel ends an entry by itself,
// and no other entry may change its owner by that.
func (e Entries) OwnerOf(entry *Entry) string {
	if named := e.named(entry); named != nil {
		return named.Owner()
	}
	return ""
}

// Owned yields every entry, sorted by ComparePrefix, with what OwnerOf says of it. To ask that of a
// million entries one by one takes a second.
func (e Entries) Owned() iter.Seq2[*Entry, string] {
	return func(yield func(*Entry, string) bool) {
		for entry, around := range e.Nested() {
			owner := entry.Owner()
			if owner == "" && around != nil {
				owner = around.Owner()
			}
			if !yield(entry, owner) {
				return
			}
		}
	}
}

// Nested yields every entry, sorted by ComparePrefix, with the longest entry around it, and not at
// it, that has an owner; nil where there is none.
func (e Entries) Nested() iter.Seq2[*Entry, *Entry] {
	return func(yield func(entry, around *Entry) bool) {
		owned := []*Entry{nil} // each within the one before it
		for entry := range e.All() {
			n := len(owned) - 1
			for n > 0 && !owned[n].Prefix.Overlaps(entry.Prefix) {
				n--
			}
			owned = owned[:n+1]
			if !yield(entry, owned[n]) {
				return
			}
			if entry.Owner() != "" {
				owned = append(owned, entry)
			}
		}
	}
}

// named returns entry if it has an owner, else the longest entry around it that has one, or nil.
func (e Entries) named(entry *Entry) *Entry {
	if entry.Owner() != "" {
		return entry
	}
	for around := range e.Covering(entry.Prefix) {
		if around.Owner() != "" {
			return around
		}
	}
	return nil
}

// OwnerOf returns the owner for whom e counts, in limits, counters and suspensions: the suspended
// owner in whose network it lies, else that of Entries.OwnerOf.
func (s State) OwnerOf(e *Entry) string {
	if owner, held := s.Suspended.holder(s.Entries, e.Prefix, nil); held {
		return owner
	}
	return s.Entries.OwnerOf(e)
}

// Hold is the suspension of an owner. It covers everything that counts for him, and his network.
// An owner is only a label, which any edit can change, but a thief has stolen keys and not a
// label: what belonged to the owner at any time while he was suspended stays stopped until he is
// resumed, whoever lists it and whatever is listed inside it.
type Hold struct {
	Owner  string
	By     Origin         // who suspends him; each of several holds stands for itself
	Nested bool           // entries of others in his network are stopped, too
	Held   []netip.Prefix // his at some time since he was suspended; sorted by ComparePrefix
	Stays  []Stay         // entries of others that were in his network before; sorted likewise
}

// Stay is an entry that a hold does not stop as long as it is this owner's.
type Stay struct {
	Prefix netip.Prefix
	Owner  string
}

// Hold returns a suspension of owner that begins now. It does not hold an entry that has ended
// at now: the addresses may be somebody else's by now.
func (s State) Hold(owner string, nested bool, now time.Time) Hold {
	h := Hold{Owner: owner, Nested: nested}
	for his := range s.Entries.OwnedBy(owner) {
		if !HasEnded(his.Until(), now) {
			h.Held = append(h.Held, his.Prefix)
			continue
		}
		for e := range s.Entries.Under(his.Prefix) {
			if e.Owner() == "" && s.holds(owner, e, now) {
				h.Held = append(h.Held, e.Prefix)
			}
		}
	}
	slices.SortFunc(h.Held, ComparePrefix)
	h.Held = slices.Compact(h.Held)
	if nested {
		return h
	}
	var within netip.Prefix
	for _, p := range h.Held { // sorted: one that lies in another comes after it
		if within.IsValid() && within.Overlaps(p) {
			continue
		}
		within = p
		for e := range s.Entries.Under(p) {
			if e.Owner() != "" && e.Owner() != owner {
				h.Stays = append(h.Stays, Stay{e.Prefix, e.Owner()})
			}
		}
	}
	return h
}

// holds reports whether a suspension of owner must hold e: it lets in, and it is his. An entry
// without an owner inside his network needs no hold of its own, unless the entry around it has
// ended.
func (s State) holds(owner string, e *Entry, now time.Time) bool {
	if HasEnded(e.Until(), now) || e.Owner() != "" && e.Owner() != owner {
		return false
	}
	named := s.Entries.named(e)
	return named != nil && named.Owner() == owner && (named == e || HasEnded(named.Until(), now))
}

func compareStay(a, b Stay) int { return ComparePrefix(a.Prefix, b.Prefix) }

// Tightened returns h after the owner was suspended again: it also holds what is his in s. With
// nested nothing stays any longer. Only its end loosens a suspension.
func (h Hold) Tightened(s State, nested bool, now time.Time) Hold {
	again := s.Hold(h.Owner, nested || h.Nested, now)
	again.Held = slices.Compact(slices.SortedFunc(both(h.Held, again.Held), ComparePrefix))
	again.Stays = h.Stays
	if again.Nested {
		again.Stays = nil
	}
	return again
}

func both(a, b []netip.Prefix) iter.Seq[netip.Prefix] { return slices.Values(slices.Concat(a, b)) }

// Follow returns h after the change from old to next, which plan describes. It holds what is the
// owner's now. Entries of others that were inside it before go on, unless h stopped them. It
// returns false where h did not change.
func (h Hold) Follow(old, next State, plan Plan, now time.Time) (Hold, bool) {
	var fresh []netip.Prefix
	for _, list := range [][]Entry{plan.Added, plan.Changed} {
		for i := range list {
			e := &list[i]
			if !next.holds(h.Owner, e, now) {
				continue
			}
			if _, held := slices.BinarySearchFunc(h.Held, e.Prefix, ComparePrefix); !held {
				fresh = append(fresh, e.Prefix)
			}
		}
	}
	if len(fresh) == 0 {
		return h, false
	}
	stays := h.Stays
	for _, p := range fresh {
		for was := range old.Entries.Under(p) {
			if h.Nested || was.Owner() == "" || was.Owner() == h.Owner {
				continue
			}
			is, found := next.Entries.Find(was.Prefix)
			if _, stopped := old.Suspended.holder(old.Entries, was.Prefix, &stopper{h.Owner, h.By}); !found || is.Owner() != was.Owner() || stopped {
				continue
			}
			stays = append(slices.Clip(stays), Stay{was.Prefix, was.Owner()})
		}
	}
	h.Held = slices.SortedFunc(both(h.Held, fresh), ComparePrefix)
	slices.SortFunc(stays, compareStay)
	h.Stays = slices.Compact(stays)
	return h, true
}

// Handed reports whether the entry at p has another owner in next than in old, or comes or
// goes with one: then so may whatever lies in p without an owner of its own.
func Handed(old, next Entries, p netip.Prefix) bool {
	owner := func(entries Entries) string {
		if e, found := entries.Find(p); found {
			return e.Owner()
		}
		return ""
	}
	return owner(old) != owner(next)
}
