package desired

import (
	"iter"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file counts what status and metrics tell of the entries: who asks every few
// seconds must not walk a million.

// tally is what is counted as entries come and go.
type Counts struct {
	Owners map[string]int          // entries of each owner, and those in his network that have none
	Ends   map[int64]map[int64]int // entries by the hour and the second in which they end
	Made   int                     // claims of the CLI
}

func CountAll(d State) Counts {
	t := Counts{Owners: map[string]int{}, Ends: map[int64]map[int64]int{}}
	for entry := range d.Policy.Entries.All() {
		t.count(d.Policy.Entries, entry, 1)
	}
	for range d.Made {
		t.Made++
	}
	return t
}

// count adds entry, one of entries, n times.
func (t *Counts) count(entries policy.Entries, entry *policy.Entry, n int) {
	if !entry.Until.IsZero() {
		second := entry.Until.Unix()
		hour := second / 3600
		if t.Ends[hour] == nil {
			t.Ends[hour] = map[int64]int{}
		}
		if t.Ends[hour][second] += n; t.Ends[hour][second] == 0 {
			delete(t.Ends[hour], second)
		}
		if len(t.Ends[hour]) == 0 {
			delete(t.Ends, hour)
		}
	}
	t.own(entries.OwnerOf(entry), n)
}

// own counts n entries of owner.
func (t *Counts) own(owner string, n int) {
	if owner == "" {
		return
	}
	if t.Owners[owner] += n; t.Owners[owner] == 0 {
		delete(t.Owners, owner)
	}
}

// ending counts the entries that end after now and within that long.
func (t *Counts) Ending(now time.Time, within time.Duration) (n int) {
	first, last := now.Unix(), now.Add(within).Unix()
	for hour := first / 3600; hour <= last/3600; hour++ {
		for second, entries := range t.Ends[hour] {
			if second > first && second <= last {
				n += entries
			}
		}
	}
	return n
}

// ended counts the entries that have ended at now.
func (t *Counts) Ended(now time.Time) (n int) {
	last := now.Unix()
	for hour, seconds := range t.Ends {
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

// follow counts what an edit made of before, which plan says of the entries.
func (t *Counts) Follow(edit policy.Edit, plan policy.Plan, before, after State) {
	for _, list := range [][]policy.Entry{plan.Added, plan.Removed, plan.Changed} {
		for i := range list {
			if was, found := before.Policy.Entries.Find(list[i].Prefix); found {
				t.count(before.Policy.Entries, was, -1)
			}
			if is, found := after.Policy.Entries.Find(list[i].Prefix); found {
				t.count(after.Policy.Entries, is, 1)
			}
		}
	}
	for entry := range inherited(before.Policy.Entries, after.Policy.Entries, plan) {
		t.own(before.Policy.Entries.OwnerOf(entry), -1)
		t.own(after.Policy.Entries.OwnerOf(entry), 1)
	}
	counted := map[netip.Prefix]bool{}
	for prefix := range edit.Prefixes() {
		if !counted[prefix] {
			counted[prefix] = true
			t.Made += one(after.Makes(prefix)) - one(before.Makes(prefix))
		}
	}
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
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
				if e.Owner != "" || named[e.Prefix] || seen[e.Prefix] || before.OwnerOf(e) == after.OwnerOf(e) {
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
