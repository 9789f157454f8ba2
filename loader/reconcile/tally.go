package reconcile

import (
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file counts what status and metrics tell of the entries: who asks every few
// seconds must not walk a million.

// tally is what is counted as entries come and go.
type tally struct {
	owners map[string]int // entries of each owner
	made   int            // claims of the CLI
}

func countAll(d desired) tally {
	t := tally{owners: map[string]int{}}
	for entry := range d.state.Entries.All() {
		t.count(entry, 1)
	}
	for range d.made {
		t.made++
	}
	return t
}

func (t *tally) count(entry *policy.Entry, n int) {
	if entry.Owner == "" {
		return
	}
	if t.owners[entry.Owner] += n; t.owners[entry.Owner] == 0 {
		delete(t.owners, entry.Owner)
	}
}

// follow counts what an edit made of before, which plan says of the entries.
func (t *tally) follow(edit policy.Edit, plan policy.Plan, before, after desired) {
	for _, list := range [][]policy.Entry{plan.Added, plan.Removed, plan.Changed} {
		for i := range list {
			if was, found := before.state.Entries.Find(list[i].Prefix); found {
				t.count(was, -1)
			}
			if is, found := after.state.Entries.Find(list[i].Prefix); found {
				t.count(is, 1)
			}
		}
	}
	counted := map[netip.Prefix]bool{}
	for prefix := range touched(edit) {
		if !counted[prefix] {
			counted[prefix] = true
			t.made += one(after.makes(prefix)) - one(before.makes(prefix))
		}
	}
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
