// Package counts counts entries and claims by owner, by origin and by end. Status and metrics tell
// these numbers every few seconds, and must not walk over a million entries each time.
package counts

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/tree"
)

// Counts are those of one state. They do not change: After returns others, and costs what
// an edit changes, however many owners and ends there are.
type Counts struct {
	Made int // claims of the CLI

	Followed map[policy.Origin]int // claims of other kept origins, but for services that are not there
	Aside    map[policy.Origin]int // those of Followed that a stronger origin contradicts

	owners  tree.Tree[owner, counted[owner]]
	ends    tree.Tree[second, counted[second]] // entries that end in a second
	renewed tree.Tree[second, counted[second]] // those of ends whose end moves on
}

// owner is the name of one.
type owner string

// Compare orders owners by name.
func (a owner) Compare(b owner) int { return strings.Compare(string(a), string(b)) }

// second is a Unix time.
type second int64

// Compare orders seconds by time.
func (a second) Compare(b second) int { return cmp.Compare(a, b) }

// counted is how many entries go by a key.
type counted[K any] struct {
	tree.Unmarked
	key     K
	entries int
}

func (c counted[K]) Key() K { return c.key }

// Owner counts the entries of an owner, and those in his network that have none.
func (c Counts) Owner(name string) int {
	if of := c.owners.Find(owner(name)); of != nil {
		return of.entries
	}
	return 0
}

// OwnersCount counts the owners.
func (c Counts) OwnersCount() int { return c.owners.Len() }

// Owners is what Owner says of each owner, in a map that the caller may keep.
func (c Counts) Owners() map[string]int {
	all := make(map[string]int, c.owners.Len())
	for of := range c.owners.All() {
		all[string(of.key)] = of.entries
	}
	return all
}

// Ends yields when entries end, from the first second on, as Unix times, and how many each time.
func (c Counts) Ends(first int64) iter.Seq2[int64, int] {
	return func(yield func(int64, int) bool) {
		for of := range c.ends.From(second(first)) {
			if !yield(int64(of.key), of.entries) {
				return
			}
		}
	}
}

// Ending counts the entries that end after now and within that long, but for those that are renewed.
func (c Counts) Ending(now time.Time, within time.Duration) (n int) {
	last := now.Add(within).Unix()
	for at, ending := range c.Ends(now.Unix() + 1) {
		if at > last {
			break
		}
		n += ending
		if moves := c.renewed.Find(second(at)); moves != nil {
			n -= moves.entries
		}
	}
	return n
}

// Ended counts the entries that have ended at now.
func (c Counts) Ended(now time.Time) (n int) {
	for at, ended := range c.Ends(math.MinInt64) {
		if at > now.Unix() {
			break
		}
		n += ended
	}
	return n
}

// counter is what is counted more, or less, on the way from one state to the next.
type counter struct {
	made            int
	followed, aside map[policy.Origin]int
	owners          map[owner]int
	ends, renewed   map[second]int
}

func newCounter() counter {
	return counter{
		followed: map[policy.Origin]int{}, aside: map[policy.Origin]int{},
		owners: map[owner]int{}, ends: map[second]int{}, renewed: map[second]int{},
	}
}

// counts returns c plus n.
func (n counter) counts(c Counts) Counts {
	return Counts{
		Made: c.Made + n.made, Followed: moreOf(c.Followed, n.followed), Aside: moreOf(c.Aside, n.aside),
		owners: more(c.owners, n.owners), ends: more(c.ends, n.ends), renewed: more(c.renewed, n.renewed),
	}
}

// moreOf is more for the few origins that there are.
func moreOf(all, by map[policy.Origin]int) map[policy.Origin]int {
	sum := make(map[policy.Origin]int, len(all)+len(by))
	for _, counts := range []map[policy.Origin]int{all, by} {
		for origin, n := range counts {
			if sum[origin] += n; sum[origin] == 0 {
				delete(sum, origin)
			}
		}
	}
	return sum
}

// more returns all plus by; a key whose sum is zero is left out.
func more[K interface {
	comparable
	tree.Key[K]
}](all tree.Tree[K, counted[K]], by map[K]int) tree.Tree[K, counted[K]] {
	changes := make([]tree.Change[K, counted[K]], 0, len(by))
	for _, key := range slices.SortedFunc(maps.Keys(by), K.Compare) {
		is := &counted[K]{key: key, entries: by[key]}
		if was := all.Find(key); was != nil {
			is.entries += was.entries
		}
		if is.entries == 0 {
			is = nil
		}
		changes = append(changes, tree.Change[K, counted[K]]{Key: key, Item: is})
	}
	return all.With(changes...)
}

// Of counts entries, and beside them so many claims of the CLI that are not enforced.
func Of(entries policy.Entries, orphans int) Counts {
	n := newCounter()
	for entry, owner := range entries.Owned() {
		n.entry(entry, owner, 1)
		n.claims(entry, 1)
	}
	n.made += orphans
	return n.counts(Counts{})
}

// After returns the counts of next, which edit has made of old, whose counts are c; plan is
// what differs between both. Of the claims of the CLI that are not enforced there are so many more.
func (c Counts) After(edit policy.Edit, plan policy.Plan, old, next policy.Entries, orphans int) Counts {
	n := newCounter()
	for prefix := range plan.Prefixes() {
		if was, found := old.Find(prefix); found {
			n.entry(was, old.OwnerOf(was), -1)
		}
		if is, found := next.Find(prefix); found {
			n.entry(is, next.OwnerOf(is), 1)
		}
	}
	for entry := range inherited(old, next, plan) {
		n.owner(old.OwnerOf(entry), -1)
		n.owner(next.OwnerOf(entry), 1)
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
		if is, found := next.Find(prefix); found {
			n.claims(is, 1)
		}
	}
	n.made += orphans
	return n.counts(c)
}

// claims adds times to the counts of the CLI and of kept origins that claim entry; -1 takes it out.
func (n *counter) claims(entry *policy.Entry, times int) {
	if !entry.Several() && entry.Has(policy.OriginCLI) { // a million are
		n.made += times
		return
	}
	for _, origin := range entry.Everyone() {
		switch {
		case origin == policy.OriginCLI:
			n.made += times
		case origin.Kept():
			n.followed[origin] += times
		}
	}
	for origin := range entry.Aside {
		n.aside[origin] += times
	}
}

// entry adds times to the counts of its owner and of the second in which it ends.
func (n counter) entry(entry *policy.Entry, name string, times int) {
	n.owner(name, times)
	if until := entry.Until(); !until.IsZero() {
		n.ends[second(until.Unix())] += times
		if entry.Renewed() {
			n.renewed[second(until.Unix())] += times
		}
	}
}

// owner adds times to the entries of name; entries of nobody, "", are not counted.
func (n counter) owner(name string, times int) {
	if name != "" {
		n.owners[owner(name)] += times
	}
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
