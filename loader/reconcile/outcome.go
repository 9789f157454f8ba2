// This file says what a change did or would do: whom it cuts off is found out before it is
// made.

package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// outcome is what a change did or, of a dry run, would do.
type outcome struct {
	plan     policy.Plan
	next     policy.State    // after it
	cuts     []api.Cut       // whom it cuts off; nil where that was not asked
	warnings []string        // likewise
	refused  *policy.Refused // of a dry run: what the change would run into
}

// assessed is how long ago an entry was used to be in use, in the words of a request. The
// error is that of policy.ParseDuration.
func assessed(seen string) (time.Duration, error) {
	return policy.ParseDuration(cmp.Or(seen, api.DefaultSeen))
}

// assess finds out whom c, which leads to next from what stands, cuts off. What cannot be
// found out keeps no change from being made.
func (o *outcome) assess(e *Engine, c change, next desired.State, now time.Time) {
	o.cuts = []api.Cut{}
	o.warnings = next.Warnings(e.enforced.State, o.plan, slices.Concat(o.plan.Added, o.plan.Changed))
	if o.plan.Empty() {
		return
	}
	peers, err := impact.Connected(next.Policy)
	if err != nil {
		o.warnings = append(o.warnings, fmt.Sprintf("who is connected is not known: %v", err))
	}
	o.cuts = impact.Assess(e.enforced.Policy, next.Policy, o.plan, impact.Use{
		LastSeen: func(entry *policy.Entry) *time.Time { return e.enforced.View().Entry(entry).LastSeen },
		Since:    e.enforced.Now().Add(-c.assess), Peers: peers, Sessions: c.peers,
	}, now)
}

// planned reports o, with that many entries of each list at most; 0 is all.
func (e *Engine) planned(o outcome, most int) api.Plan {
	q := e.enforced.View()
	added, removed, changed, was := o.plan.Added, o.plan.Removed, o.plan.Changed, o.plan.Was
	var unnamed *api.Unnamed
	if longest := max(len(added), len(removed), len(changed)); most > 0 && longest > most {
		added, removed, changed, was = first(added, most), first(removed, most), first(changed, most), first(was, most)
		unnamed = &api.Unnamed{Added: len(o.plan.Added) - len(added), Removed: len(o.plan.Removed) - len(removed), Changed: len(o.plan.Changed) - len(changed)}
	}
	return api.Plan{
		Generation: q.Generation, Total: o.next.Entries.Len(),
		Added: q.Entries(added), Removed: q.Entries(removed), Changed: q.Entries(changed), Was: query.Formers(was), Unnamed: unnamed,
		Services: query.ServiceChangesOf(o.plan.Services), Opens: o.plan.Opens,
		Warnings: o.warnings, Foreseen: query.ForeseenOf(o.cuts, o.refused),
	}
}

func first(entries []policy.Entry, most int) []policy.Entry { return entries[:min(most, len(entries))] }
