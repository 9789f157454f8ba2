// Package nesting warns when a change lists an entry inside another owner's network: what one owner
// has inside another's is easily forgotten, and found when one of them is stopped.
package nesting

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// lookedAt bounds how many entries within a wide one are looked at: a warning is not worth
// seconds.
const lookedAt = 100_000

// nested is an entry and the network of another owner that it lies in.
type nested struct {
	entry  *policy.Entry
	around *policy.Entry // the longest one around it that has an owner
}

// nestings finds what plan, which leads to next from old, lists in networks that are not
// its owner's, or around such: each that was not so before.
func nestings(old, next policy.State, plan policy.Plan) (ownerless, others []nested) {
	all := placed(next, plan)
	if len(plan.Added)+len(plan.Changed) > next.Entries.Len()/8 { // to walk over all entries takes less
		all = placedAmongAll(next, plan)
	}
	for e, around := range all {
		if around == nil || around.Owner() == e.Owner() {
			continue
		}
		if was, stood := old.Entries.Find(e.Prefix); stood && was.Owner() == e.Owner() {
			if before := ownerAround(old.Entries, was); before != nil && before.Owner() == around.Owner() {
				continue
			}
		}
		if e.Owner() == "" {
			ownerless = append(ownerless, nested{e, around})
		} else {
			others = append(others, nested{e, around})
		}
	}
	return ownerless, others
}

// placed yields the entries that plan adds or changes, and those in one that has an owner
// by it, each once, with the entry that ownerAround says of them.
func placed(next policy.State, plan policy.Plan) iter.Seq2[*policy.Entry, *policy.Entry] {
	return func(yield func(entry, around *policy.Entry) bool) {
		looked, seen := 0, map[netip.Prefix]bool{}
		for _, change := range slices.Concat(plan.Added, plan.Changed) {
			for e := range next.Entries.Under(change.Prefix) {
				if change.Owner() == "" && e.Prefix != change.Prefix {
					break
				}
				if looked++; looked > lookedAt {
					return
				}
				if seen[e.Prefix] {
					continue
				}
				if seen[e.Prefix] = true; !yield(e, ownerAround(next.Entries, e)) {
					return
				}
			}
		}
	}
}

// placedAmongAll is placed in one walk over all entries.
func placedAmongAll(next policy.State, plan policy.Plan) iter.Seq2[*policy.Entry, *policy.Entry] {
	names := func(rest *[]policy.Entry, e *policy.Entry) bool {
		for len(*rest) > 0 && policy.ComparePrefix((*rest)[0].Prefix, e.Prefix) < 0 {
			*rest = (*rest)[1:]
		}
		return len(*rest) > 0 && (*rest)[0].Prefix == e.Prefix
	}
	return func(yield func(entry, around *policy.Entry) bool) {
		added, changed := plan.Added, plan.Changed
		var owned netip.Prefix // that plan names, and that has an owner by it
		for e, around := range next.Entries.Nested() {
			within := owned.IsValid() && owned.Overlaps(e.Prefix)
			named := names(&added, e) || names(&changed, e)
			if named && !within && e.Owner() != "" {
				owned = e.Prefix
			}
			if (named || within) && !yield(e, around) {
				return
			}
		}
	}
}

// ownerAround is the longest of entries around e, and not at it, that has an owner.
func ownerAround(entries policy.Entries, e *policy.Entry) *policy.Entry {
	for around := range entries.Covering(e.Prefix) {
		if around.Prefix != e.Prefix && around.Owner() != "" {
			return around
		}
	}
	return nil
}

// Warnings are what there is to say of the places of listed, and of what plan lists, which
// leads to d from old.
func Warnings(d, old desired.State, plan policy.Plan, listed ...[]policy.Entry) (all []string) {
	if len(d.Suspensions)+len(d.Fleets) == 0 { // nothing is suspended: skip the walk
		listed = nil
	}
	var stopped []*policy.Entry
	for _, entries := range listed {
		for i := range entries {
			if e, found := d.Policy.Entries.Find(entries[i].Prefix); found && d.Policy.IsSuspended(e) {
				stopped = append(stopped, e)
			}
		}
	}
	all = desired.Summed(all, stopped, func(e *policy.Entry) string {
		return fmt.Sprintf("%s is listed and lets nobody in: %s", e.Prefix, stopping(d, e))
	}, func(e *policy.Entry, n int) string {
		return fmt.Sprintf("%d prefixes are listed and let nobody in, as %s: %s", n, e.Prefix, stopping(d, e))
	})
	ownerless, others := nestings(old.Policy, d.Policy, plan)
	all = desired.Summed(all, ownerless, func(n nested) string {
		return fmt.Sprintf("%s has no owner: it counts for %s, who has %s around it", n.entry.Prefix, n.around.Owner(), n.around.Prefix)
	}, func(first nested, n int) string {
		return fmt.Sprintf("%d prefixes without an owner lie in networks of owners, and count for them, as %s for %s", n, first.entry.Prefix, first.around.Owner())
	})
	others = slices.DeleteFunc(others, func(n nested) bool { // stopped with the owner around it, as was said above
		_, by := d.Policy.SuspendedBy(n.entry)
		return by == n.around.Owner()
	})
	return desired.Summed(all, others, func(n nested) string {
		return fmt.Sprintf("%s (%s) lies in %s of %s: limits of %[4]s do not count it, and a suspension of %[4]s leaves it open without --nested",
			n.entry.Prefix, n.entry.Owner(), n.around.Prefix, n.around.Owner())
	}, func(first nested, n int) string {
		return fmt.Sprintf("%d prefixes lie in networks of other owners, as %s (%s) in %s of %s: the limits of those do not count them, and their suspensions leave them open without --nested",
			n, first.entry.Prefix, first.entry.Owner(), first.around.Prefix, first.around.Owner())
	})
}

// stopping says what stops e, since when and why.
func stopping(d desired.State, e *policy.Entry) string {
	prefix, owner := d.Policy.SuspendedBy(e)
	subject := policy.Subject{Prefix: prefix, Owner: owner}
	s, by, _ := d.SuspensionOf(subject)
	who := fmt.Sprintf("uid %d", s.UID)
	if by.Followed() {
		who = string(by)
	}
	text := fmt.Sprintf("%s is suspended since %s by %s", subject, s.Time.UTC().Format(time.RFC3339), who)
	if s.Reason != "" {
		text += " (" + s.Reason + ")"
	}
	if owner != "" && e.Owner() != owner {
		text += ", and it counts for " + owner + " until: " + d.Resumes(subject)
	}
	return text
}
