// This file merges the claims of one prefix into an entry.

package policy

import (
	"cmp"
	"slices"
	"time"
)

// Merge returns an entry for each prefix in claims, sorted by ComparePrefix. The order of claims
// does not matter. claims is neither changed nor kept.
//
// Of one prefix only claims count that have not ended at now. When all have ended, those count
// that ended last: the entry stays as it was, and the kernel says expired. Services are the
// union, until is the latest, the note is the first that is not empty in the order of origins
// (cli, config, files by name, flag). Entry.Claims has the ended claims, too.
//
// A claim of an origin that yields is aside, and counts for nothing, where the strongest origin
// that names an owner names another one: see holder. The owners of all other claims must agree,
// also those of ended claims: else a merge that succeeds now could fail as time goes by. Two
// declared owners are an *InputError, whose Where is the later one; a cli claim against another
// is a *Refused that names the holder. All conflicts are reported, joined as by ParseList.
func Merge(claims []Claim, now time.Time) ([]Entry, error) {
	sorted := sortClaims(claims)
	entries := make([]Entry, 0, len(sorted))
	var bad mistakes
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].Prefix == sorted[0].Prefix {
			n++
		}
		if err := ownersAgree(sorted[:n]); err != nil {
			bad.add(err)
		}
		entries = append(entries, mergeOne(sorted[:n:n], now))
		sorted = sorted[n:]
	}
	if err := bad.err(""); err != nil {
		return nil, err
	}
	return entries, nil
}

// NextEnd returns when the next claim ends after now, and Merge may have another result; zero
// where none does.
func NextEnd(claims []Claim, now time.Time) time.Time {
	var next time.Time
	for _, c := range claims {
		if c.Until.After(now) && (next.IsZero() || c.Until.Before(next)) {
			next = c.Until
		}
	}
	return next
}

// sortClaims returns claims sorted and without repetitions. Where they are so already, as the
// store has them, it returns the argument. Else it sorts pointers: a claim has 144 bytes, and
// this way a million of them are moved once. A long sorted front, to which files and flags were
// appended, is merged with the rest and not sorted again.
func sortClaims(claims []Claim) []Claim {
	order := make([]*Claim, len(claims))
	for i := range claims {
		order[i] = &claims[i]
	}
	front := 0
	for front < len(order) && (front == 0 || compareClaim(order[front-1], order[front]) < 0) {
		front++
	}
	if front == len(order) {
		return claims
	}
	rest := order[front:]
	slices.SortFunc(rest, compareClaim)
	sorted := make([]Claim, 0, len(claims))
	for order = order[:front]; len(order)+len(rest) > 0; {
		from := &order
		if len(order) == 0 || len(rest) > 0 && compareClaim(rest[0], order[0]) < 0 {
			from = &rest
		}
		next := (*from)[0]
		*from = (*from)[1:]
		if n := len(sorted); n == 0 || compareClaim(&sorted[n-1], next) != 0 {
			sorted = append(sorted, *next)
		}
	}
	return sorted
}

// compareClaim is a total order: the result of Merge depends only on the set of claims.
func compareClaim(a, b *Claim) int {
	if c := ComparePrefix(a.Prefix, b.Prefix); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Origin, b.Origin),
		cmp.Compare(len(a.Where), len(b.Where)), // line 9 before line 10
		cmp.Compare(a.Where, b.Where),
		cmp.Compare(a.Owner, b.Owner),
		slices.Compare(a.Services, b.Services),
		a.Until.Compare(b.Until),
		cmp.Compare(a.Note, b.Note),
	)
}

// mergeOne merges the sorted claims of one prefix.
func mergeOne(all []Claim, now time.Time) Entry {
	if len(all) == 1 {
		return EntryOf(all[0])
	}
	claims := standing(all)
	whole := Claim{Prefix: claims[0].Prefix, Until: claims[0].Until}
	for _, c := range claims[1:] {
		if c.Until.IsZero() || !whole.Until.IsZero() && c.Until.After(whole.Until) {
			whole.Until = c.Until
		}
	}
	ended := HasEnded(whole.Until, now)
	every := false
	for _, c := range claims {
		if HasEnded(c.Until, now) && !(ended && c.Until.Equal(whole.Until)) {
			continue
		}
		whole.Owner, whole.Note = cmp.Or(whole.Owner, c.Owner), cmp.Or(whole.Note, c.Note)
		every = every || len(c.Services) == 0
		whole.Services = union(whole.Services, c.Services)
	}
	if every {
		whole.Services = nil
	}
	return merged(whole, all)
}

// holder returns, of the claims of one prefix, that of the strongest origin that names an owner;
// nil where none does. It looks at nothing else, so neither the order in which claims came nor a
// restart can change whose a prefix is, and time does not either: ended claims count.
func holder(claims []Claim) *Claim {
	var strongest *Claim
	for i := range claims {
		if c := &claims[i]; c.Owner != "" && (strongest == nil || CompareStrength(c.Origin, strongest.Origin) < 0) {
			strongest = c
		}
	}
	return strongest
}

// isAside reports whether c, a claim of a prefix that is held by that claim, is not enforced.
func (c Claim) isAside(holder *Claim) bool {
	return holder != nil && c.Origin.yields() && c.Owner != "" && c.Owner != holder.Owner
}

// standing returns the claims of one prefix that are not aside: at least one.
func standing(claims []Claim) []Claim {
	by := holder(claims)
	if !slices.ContainsFunc(claims, func(c Claim) bool { return c.isAside(by) }) {
		return claims
	}
	return slices.DeleteFunc(slices.Clone(claims), func(c Claim) bool { return c.isAside(by) })
}

// HasEnded is the kernel's rule: at until itself an entry has ended.
func HasEnded(until, now time.Time) bool { return !until.IsZero() && !until.After(now) }

// union returns the union of two sorted lists, and changes neither.
func union(a, b []string) []string {
	if len(a) == 0 {
		return b
	}
	both := slices.Concat(a, b)
	slices.Sort(both)
	return slices.Compact(both)
}

// ownersAgree refuses two owners among the claims of one prefix. A claim without an owner agrees
// with any, and so does one that yields.
func ownersAgree(claims []Claim) error {
	owned := func(c Claim) bool { return c.Owner != "" && !c.Origin.yields() }
	declared := func(c Claim) bool { return owned(c) && c.Origin != OriginCLI }
	i := slices.IndexFunc(claims, declared)
	if i < 0 {
		i = slices.IndexFunc(claims, owned)
	}
	if i < 0 {
		return nil
	}
	holder := claims[i]
	var refused error
	for _, c := range claims {
		switch {
		case !owned(c) || c.Owner == holder.Owner:
		case c.Origin == OriginCLI:
			refused = refusedf("", "%s belongs to %s (%s)", c.Prefix, holder.Owner, holder.place())
		default:
			return inputErrorf(c.place(), "", "%s belongs to %s (%s), not to %s",
				c.Prefix, holder.Owner, holder.place(), c.Owner)
		}
	}
	return refused
}

// place returns where an operator finds c: file:line, --allow, or cli.
func (c Claim) place() string {
	if c.Where == "" && c.Origin == OriginFlag {
		return "--allow"
	}
	return cmp.Or(c.Where, string(c.Origin))
}
