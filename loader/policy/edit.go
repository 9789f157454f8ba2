// This file edits a state at the few prefixes that a change names. The result is that of Merge
// and Diff over all entries, without the walk over a million of them.

package policy

import (
	"iter"
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
	edit = edit.sorted()
	changes := make([]change, 0, len(edit.Remove)+len(edit.Put))
	var plan Plan
	if s.Entries.Len() == 0 {
		plan.Added = slices.Grow(plan.Added, len(edit.Put))
	}
	var bad mistakes
	find := s.Entries.finder(cap(changes))
	for !edit.Empty() {
		prefix, remove, put := edit.next()
		old := find(prefix)
		claims := afterwards(old, remove, put)
		if err := ownersAgree(claims); err != nil {
			bad.add(err)
			continue
		}
		if len(claims) == 0 {
			if old != nil {
				plan.Removed, changes = append(plan.Removed, *old), append(changes, change{Key: Place(prefix)})
			}
			continue
		}
		entry := mergeOne(claims, now)
		item := &entry
		switch {
		case old == nil:
			plan.Added = append(plan.Added, entry)
			item = &plan.Added[len(plan.Added)-1]
		case !old.Equal(entry):
			plan.Changed, plan.Was = append(plan.Changed, entry), append(plan.Was, *old)
			item = &plan.Changed[len(plan.Changed)-1]
		}
		changes = append(changes, change{Key: Place(prefix), Item: item})
	}
	if err := bad.err(""); err != nil {
		return s, Plan{}, err
	}
	s.Entries = s.Entries.with(changes...)
	return s, plan, nil
}

// sorted is e with what it names sorted by ComparePrefix; of one prefix what comes first stays so.
func (e Edit) sorted() Edit {
	key := func(a, b ClaimKey) int { return ComparePrefix(a.Prefix, b.Prefix) }
	if !slices.IsSortedFunc(e.Remove, key) {
		e.Remove = slices.Clone(e.Remove)
		slices.SortStableFunc(e.Remove, key)
	}
	put := func(a, b Claim) int { return ComparePrefix(a.Prefix, b.Prefix) }
	if !slices.IsSortedFunc(e.Put, put) {
		e.Put = slices.Clone(e.Put)
		slices.SortStableFunc(e.Put, put)
	}
	return e
}

// next takes what e, which is sorted and not empty, names of its first prefix.
func (e *Edit) next() (prefix netip.Prefix, remove []ClaimKey, put []Claim) {
	if len(e.Put) == 0 || len(e.Remove) > 0 && ComparePrefix(e.Remove[0].Prefix, e.Put[0].Prefix) < 0 {
		prefix = e.Remove[0].Prefix
	} else {
		prefix = e.Put[0].Prefix
	}
	n, m := 0, 0
	for n < len(e.Remove) && e.Remove[n].Prefix == prefix {
		n++
	}
	for m < len(e.Put) && e.Put[m].Prefix == prefix {
		m++
	}
	remove, put = e.Remove[:n], e.Put[:m]
	e.Remove, e.Put = e.Remove[n:], e.Put[m:]
	return prefix, remove, put
}

// afterwards returns the claims, sorted, of the prefix of old, which may be nil, when some are taken
// away and then some made.
func afterwards(old *Entry, remove []ClaimKey, put []Claim) (claims []Claim) {
	if old == nil && len(put) == 1 { // as a million may be
		return put
	}
	if old != nil {
		claims = slices.Clone(old.Claims())
	}
	without := func(origin Origin) {
		claims = slices.DeleteFunc(claims, func(c Claim) bool { return c.Origin == origin })
	}
	for _, key := range remove {
		without(key.Origin)
	}
	for _, claim := range put {
		without(claim.Origin)
		claims = append(claims, claim)
	}
	return sortClaims(claims)
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
