// This file counts what status and metrics tell of the entries: who asks every few seconds
// must not walk a million.

package desired

import (
	"iter"
	"maps"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Counts is what is counted of a state. It does not change: an edit makes others, which
// costs as much as there are owners and hours in which entries end.
type Counts struct {
	Owners map[string]int // entries of each owner, and those in his network that have none
	Made   int            // claims of the CLI

	Followed map[policy.Origin]int // claims of other kept origins, but for services that are not there
	Aside    map[policy.Origin]int // those of Followed that a stronger origin contradicts

	ends    map[int64]map[int64]int // entries by the hour and the second in which they end
	renewed map[int64]int           // those of ends whose end moves on, by the second: few, as lists of others are bounded
}

// Ending counts the entries that end after now and within that long, but for those that are renewed.
func (c Counts) Ending(now time.Time, within time.Duration) (n int) {
	first, last := now.Unix(), now.Add(within).Unix()
	for hour := first / 3600; hour <= last/3600; hour++ {
		for second, entries := range c.ends[hour] {
			if second > first && second <= last {
				n += entries - c.renewed[second]
			}
		}
	}
	return n
}

// Ended counts the entries that have ended at now.
func (c Counts) Ended(now time.Time) (n int) {
	last := now.Unix()
	for hour, seconds := range c.ends {
		if hour > last/3600 {
			continue
		}
		for second, entries := range seconds {
			if second <= last {
				n += entries
			}
		}
	}
	return n
}

// counter is Counts on the way from one state to the next.
type counter struct {
	Counts
	own map[int64]bool // the hours of ends that no state shares
}

// count counts all of d.
func count(d State) Counts {
	c := counter{Counts{
		Owners: map[string]int{}, ends: map[int64]map[int64]int{}, renewed: map[int64]int{},
		Followed: map[policy.Origin]int{}, Aside: map[policy.Origin]int{},
	}, map[int64]bool{}}
	for entry, owner := range d.Policy.Entries.Owned() {
		c.entry(entry, owner, 1)
		c.claims(entry, 1)
	}
	c.Made += len(d.Orphans())
	return c.Counts
}

// after is c, which counts before, when edit has made next of it; plan says what that
// changes of the entries.
func (c Counts) after(edit policy.Edit, plan policy.Plan, before, next State) Counts {
	if edit.Empty() && plan.Empty() {
		return c
	}
	if next.many(edit) {
		return count(next)
	}
	n := counter{Counts{
		Owners: copied(c.Owners), Made: c.Made, ends: copied(c.ends), renewed: copied(c.renewed), Followed: copied(c.Followed), Aside: copied(c.Aside),
	}, map[int64]bool{}}
	old, new := before.Policy.Entries, next.Policy.Entries
	for prefix := range plan.Prefixes() {
		if was, found := old.Find(prefix); found {
			n.entry(was, old.OwnerOf(was), -1)
		}
		if is, found := new.Find(prefix); found {
			n.entry(is, new.OwnerOf(is), 1)
		}
	}
	for entry := range inherited(old, new, plan) {
		n.owner(old.OwnerOf(entry), -1)
		n.owner(new.OwnerOf(entry), 1)
	}
	counted := map[netip.Prefix]bool{}
	for prefix := range edit.Prefixes() {
		if counted[prefix] {
			continue
		}
		counted[prefix] = true
		if was, found := old.Find(prefix); found {
			n.claims(was, -1)
		}
		if is, found := new.Find(prefix); found {
			n.claims(is, 1)
		}
	}
	n.Made += len(next.Orphans()) - len(before.Orphans())
	return n.Counts
}

// claims counts what kept origins claim of entry by times more.
func (c *counter) claims(entry *policy.Entry, times int) {
	if !entry.Several() && entry.Has(policy.OriginCLI) { // a million are
		c.Made += times
		return
	}
	for _, origin := range entry.Everyone() {
		switch {
		case origin == policy.OriginCLI:
			c.Made += times
		case origin.Kept():
			add(c.Followed, origin, times)
		}
	}
	for origin := range entry.Aside {
		add(c.Aside, origin, times)
	}
}

// entry counts entry, which is owner's, by times more.
func (c *counter) entry(entry *policy.Entry, owner string, times int) {
	c.owner(owner, times)
	if entry.Until().IsZero() {
		return
	}
	second := entry.Until().Unix()
	hour := second / 3600
	if !c.own[hour] {
		c.own[hour], c.ends[hour] = true, copied(c.ends[hour])
	}
	add(c.ends[hour], second, times)
	if entry.Renewed() {
		add(c.renewed, second, times)
	}
	if len(c.ends[hour]) == 0 {
		delete(c.ends, hour)
		delete(c.own, hour)
	}
}

// owner counts an entry of name by times more; nobody has "".
func (c *counter) owner(name string, times int) {
	if name != "" {
		add(c.Owners, name, times)
	}
}

// add counts key by n more, and forgets what comes to nothing.
func add[K comparable](counts map[K]int, key K, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}

// copied is a copy of m to be written to, also where m is nil.
func copied[K comparable, V any](m map[K]V) map[K]V {
	all := make(map[K]V, len(m))
	maps.Copy(all, m)
	return all
}

// inherited yields the entries without an owner, not named by plan, whose owner another
// one was before: theirs around them was changed.
func inherited(before, after policy.Entries, plan policy.Plan) iter.Seq[*policy.Entry] {
	return func(yield func(*policy.Entry) bool) {
		named, seen := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
		for p := range plan.Prefixes() {
			named[p] = true
		}
		for p := range plan.Prefixes() {
			if !policy.Handed(before, after, p) {
				continue
			}
			for e := range after.Under(p) {
				if e.Owner() != "" || named[e.Prefix] || seen[e.Prefix] || before.OwnerOf(e) == after.OwnerOf(e) {
					continue
				}
				seen[e.Prefix] = true
				if !yield(e) {
					return
				}
			}
		}
	}
}
