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
	o.warnings = next.Warnings(e.view.State, o.plan, slices.Concat(o.plan.Added, o.plan.Changed))
	if o.plan.Empty() {
		return
	}
	peers, err := impact.Connected(next.Policy)
	if err != nil {
		o.warnings = append(o.warnings, fmt.Sprintf("who is connected is not known: %v", err))
	}
	o.cuts = impact.Assess(e.view.Policy, next.Policy, o.plan, impact.Use{
		LastSeen: func(entry *policy.Entry) *time.Time { return e.view.query().Entry(entry).LastSeen },
		Since:    e.view.now().Add(-c.assess), Peers: peers, Sessions: c.peers,
	}, now)
}

// foreseen reports whom o cuts off, and what refuses it.
func (o outcome) foreseen() api.Foreseen {
	f := api.Foreseen{Cuts: o.cuts}
	if o.refused != nil {
		f.Refused = &api.Refusal{What: o.refused.What, Hint: o.refused.Hint}
	}
	return f
}

// planned reports o, as generation.
func (e *Engine) planned(o outcome) api.Plan {
	q := e.view.query()
	return api.Plan{
		Generation: q.Generation, Total: o.next.Entries.Len(),
		Added: q.Entries(o.plan.Added), Removed: q.Entries(o.plan.Removed), Changed: q.Entries(o.plan.Changed), Was: query.Formers(o.plan.Was),
		Services: query.ServiceChangesOf(o.plan.Services), Opens: o.plan.Opens,
		Warnings: o.warnings, Foreseen: o.foreseen(),
	}
}
