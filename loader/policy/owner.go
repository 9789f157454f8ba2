// This file says whose a prefix is: an owner's network is what is listed for him and what
// lies in it without an owner; and who is suspended keeps what he had.

package policy

import (
	"iter"
	"net/netip"
	"slices"
	"time"
)

// OwnerOf is the owner of entry, or when it has none that of the longest entry around it
// that has one; "" is nobody. Whether those have ended does not matter: the kernel ends an
// entry by itself, and no other entry changes hands by that.
func (e Entries) OwnerOf(entry *Entry) string {
	if named := e.named(entry); named != nil {
		return named.Owner
	}
	return ""
}

// named is entry when it has an owner, else the longest one around it that has; or nil.
func (e Entries) named(entry *Entry) *Entry {
	if entry.Owner != "" {
		return entry
	}
	for around := range e.Covering(entry.Prefix) {
		if around.Owner != "" {
			return around
		}
	}
	return nil
}

// OwnerOf is the owner for whom e counts, in limits, counters and suspensions: the
// suspended one in whose network it lies, else as in Entries.OwnerOf.
func (s State) OwnerOf(e *Entry) string {
	if owner, held := s.Suspended.holder(s.Entries, e.Prefix, ""); held {
		return owner
	}
	return s.Entries.OwnerOf(e)
}

// Hold is the suspension of an owner as it lies over the list. It covers what counts for
// him, and his network: an owner is a label that any edit may change, and whoever is
// stopped has stolen his keys and not his label. So what was his while he was suspended
// stays stopped, whoever lists it and whatever is listed in it, until he is resumed.
type Hold struct {
	Owner  string
	Nested bool           // what others had in his network is stopped, too
	Held   []netip.Prefix // his since he was suspended; sorted by ComparePrefix
	Stays  []Stay         // likewise: of others in his network from before
}

// Stay is an entry that goes on as long as it is this owner's.
type Stay struct {
	Prefix netip.Prefix
	Owner  string
}

// Hold is the suspension of owner at this moment. An entry that has ended at now is not
// held: its addresses may be somebody else's by now.
func (s State) Hold(owner string, nested bool, now time.Time) Hold {
	h := Hold{Owner: owner, Nested: nested}
	for e := range s.Entries.All() {
		if s.holds(owner, e, now) {
			h.Held = append(h.Held, e.Prefix)
		}
	}
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
			if e.Owner != "" && e.Owner != owner {
				h.Stays = append(h.Stays, Stay{e.Prefix, e.Owner})
			}
		}
	}
	return h
}

// holds reports whether a suspension of owner has to hold e: it lets in, and it is his. One
// that has no owner and lies in his network is held with that, unless that has ended.
func (s State) holds(owner string, e *Entry, now time.Time) bool {
	if hasEnded(e.Until, now) || e.Owner != "" && e.Owner != owner {
		return false
	}
	named := s.Entries.named(e)
	return named != nil && named.Owner == owner && (named == e || hasEnded(named.Until, now))
}

func compareStay(a, b Stay) int { return ComparePrefix(a.Prefix, b.Prefix) }

// Tightened is h suspended once more: it holds what s says of the owner as well. With
// nested nothing stays any longer. A suspension is never loosened but by its end.
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

// Follow is h after the change from old to next, which plan is. What is the owner's now
// is held from now on; what others had in it before goes on, unless h stopped it. It
// reports false when h is as it was.
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
			if h.Nested || was.Owner == "" || was.Owner == h.Owner {
				continue
			}
			is, found := next.Entries.Find(was.Prefix)
			if _, stopped := old.Suspended.holder(old.Entries, was.Prefix, h.Owner); !found || is.Owner != was.Owner || stopped {
				continue
			}
			stays = append(slices.Clip(stays), Stay{was.Prefix, was.Owner})
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
			return e.Owner
		}
		return ""
	}
	return owner(old) != owner(next)
}
