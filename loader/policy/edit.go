// This file edits a state at the few prefixes that a change names. The result is that of Merge
// and Diff over all entries, without the walk over a million of them.

package policy

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Edit is a change of claims: first Remove, then Put.
type Edit struct {
	Remove []ClaimKey // a claim that is not there is no error
	Put    []Claim    // each in place of its origin's claim of its prefix
}

// ClaimKey names what one origin says of one prefix.
type ClaimKey struct {
	Origin Origin
	Prefix netip.Prefix
}

// Empty reports whether there is nothing to do.
func (e Edit) Empty() bool { return len(e.Remove)+len(e.Put) == 0 }

// Edit returns the state after edit, and what that changes. Errors are those of Merge. s stays
// as it is and shares most of its memory with the result.
func (s State) Edit(edit Edit, now time.Time) (State, Plan, error) {
	touched := edit.touched(s.Entries)
	var claims []Claim
	for _, of := range touched {
		claims = append(claims, of...)
	}
	merged, err := Merge(claims, now)
	if err != nil {
		return s, Plan{}, err
	}
	var plan Plan
	changes := make([]change, 0, len(touched))
	for _, prefix := range slices.SortedFunc(maps.Keys(touched), ComparePrefix) {
		old, found := s.Entries.Find(prefix)
		if len(merged) == 0 || merged[0].Prefix != prefix {
			if found {
				plan.Removed, changes = append(plan.Removed, *old), append(changes, change{Key: Place(prefix)})
			}
			continue
		}
		entry := &merged[0]
		merged = merged[1:]
		changes = append(changes, change{Key: Place(prefix), Item: entry})
		if !found {
			plan.Added = append(plan.Added, *entry)
		} else if !old.Equal(*entry) {
			plan.Changed, plan.Was = append(plan.Changed, *entry), append(plan.Was, *old)
		}
	}
	s.Entries = s.Entries.with(changes...)
	return s, plan, nil
}

// touched returns the claims that each prefix named in e will have, perhaps none.
func (e Edit) touched(entries Entries) map[netip.Prefix][]Claim {
	touched := make(map[netip.Prefix][]Claim, len(e.Put)+len(e.Remove))
	withdraw := func(key ClaimKey) {
		claims, known := touched[key.Prefix]
		if entry, found := entries.Find(key.Prefix); !known && found {
			claims = slices.Clone(entry.Claims())
		}
		touched[key.Prefix] = slices.DeleteFunc(claims, func(c Claim) bool { return c.Origin == key.Origin })
	}
	for _, key := range e.Remove {
		withdraw(key)
	}
	for _, claim := range e.Put {
		withdraw(ClaimKey{claim.Origin, claim.Prefix})
		touched[claim.Prefix] = append(touched[claim.Prefix], claim)
	}
	return touched
}

// Expire returns the state at now, in which some claims may have ended, and when to call it
// again; zero is never. Only entries of several claims are merged again: an entry of one claim
// stays when that ends, and the kernel says expired.
func (s State) Expire(now time.Time) (after State, plan Plan, next time.Time) {
	after = s
	var changes []change
	for one := range s.Entries.several.All() {
		old := s.Entries.tree.Find(one.Key())
		next = Earliest(next, NextEnd(old.Claims(), now))
		// Owners agree: Merge asks that of ended claims, too.
		if entry := mergeOne(old.Claims(), now); !old.Equal(entry) {
			plan.Changed, plan.Was = append(plan.Changed, entry), append(plan.Was, *old)
			changes = append(changes, change{Key: old.Key(), Item: &entry})
		}
	}
	after.Entries = s.Entries.with(changes...)
	return after, plan, next
}

// Earliest is the earlier of two times, of which zero is never.
func Earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Of returns the part of e that is about origin.
func (e Edit) Of(origin Origin) (part Edit) {
	if !slices.ContainsFunc(e.Remove, func(key ClaimKey) bool { return key.Origin != origin }) &&
		!slices.ContainsFunc(e.Put, func(c Claim) bool { return c.Origin != origin }) {
		return e // an edit of a million is of one origin
	}
	for _, key := range e.Remove {
		if key.Origin == origin {
			part.Remove = append(part.Remove, key)
		}
	}
	for _, claim := range e.Put {
		if claim.Origin == origin {
			part.Put = append(part.Put, claim)
		}
	}
	return part
}

// Key names c.
func (c Claim) Key() ClaimKey { return ClaimKey{c.Origin, c.Prefix} }

// Keys yields the claims that e names, some twice.
func (e Edit) Keys() iter.Seq[ClaimKey] {
	return func(yield func(ClaimKey) bool) {
		for _, key := range e.Remove {
			if !yield(key) {
				return
			}
		}
		for _, claim := range e.Put {
			if !yield(claim.Key()) {
				return
			}
		}
	}
}

// Prefixes yields the prefixes that e names, some twice.
func (e Edit) Prefixes() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for key := range e.Keys() {
			if !yield(key.Prefix) {
				return
			}
		}
	}
}
