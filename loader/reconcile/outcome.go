// This file says what a change did or would do: whom it cuts off is found out before it is
// made.

package reconcile

import (
	"cmp"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/nesting"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// Outcome is what a change did or, of a dry run, would do.
type Outcome struct {
	Plan     policy.Plan
	Next     policy.State    // after it
	Warnings []string        // nil where that was not asked
	cuts     []api.Cut       // whom it cuts off; likewise
	refused  *policy.Refused // of a dry run: what the change would run into
}

// Foreseen is whom the change cuts off; nil where that was not asked.
func (o Outcome) Foreseen() api.Foreseen { return query.ForeseenOf(o.cuts, o.refused) }

// assessed is how long ago an entry was used to be in use, in the words of a request. The
// error is that of policy.ParseDuration.
func assessed(seen string) (time.Duration, error) {
	return policy.ParseDuration(cmp.Or(seen, api.DefaultSeen))
}

// assess finds out whom c, which leads to next from what stands, cuts off. What cannot be
// found out keeps no change from being made.
func (o *Outcome) assess(e *Engine, c change, next desired.State, now time.Time) {
	o.cuts = []api.Cut{}
	o.Warnings = nesting.Warnings(next, e.enforced.State, o.Plan, o.Plan.Added, o.Plan.Changed)
	if o.Plan.Empty() {
		return
	}
	peers, err := impact.Connected(next.Policy)
	if err != nil {
		o.Warnings = append(o.Warnings, fmt.Sprintf("who is connected is not known: %v", err))
	}
	o.cuts = impact.Assess(e.enforced.Policy, next.Policy, o.Plan, impact.Use{
		LastSeen: func(entry *policy.Entry) *time.Time { return e.enforced.View().Entry(entry).LastSeen },
		Since:    e.enforced.Now().Add(-c.assess), Peers: peers, Sessions: c.peers,
	}, now)
}

// Report reports o to who asks v, with that many entries of each list at most; 0 is all.
func (o Outcome) Report(v *query.View, most int) api.Plan {
	added, removed, changed, was := o.Plan.Added, o.Plan.Removed, o.Plan.Changed, o.Plan.Was
	var unnamed *api.Unnamed
	if longest := max(len(added), len(removed), len(changed)); most > 0 && longest > most {
		added, removed, changed, was = first(added, most), first(removed, most), first(changed, most), first(was, most)
		unnamed = &api.Unnamed{Added: len(o.Plan.Added) - len(added), Removed: len(o.Plan.Removed) - len(removed), Changed: len(o.Plan.Changed) - len(changed)}
	}
	return api.Plan{
		Generation: v.Generation, Total: o.Next.Entries.Len(),
		Added: v.Entries(added), Removed: v.Entries(removed), Changed: v.Entries(changed), Was: query.Formers(was), Unnamed: unnamed,
		Services: query.ServiceChangesOf(o.Plan.Services), Opens: o.Plan.Opens,
		Warnings: o.Warnings, Foreseen: o.Foreseen(),
	}
}

func first(entries []policy.Entry, most int) []policy.Entry { return entries[:min(most, len(entries))] }
