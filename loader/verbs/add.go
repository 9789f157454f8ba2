package verbs

import (
	"context"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/nesting"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// Add makes or updates CLI claims, all or none.
func (e *Engine) Add(ctx context.Context, by api.Caller, r api.AddRequest) (answer api.Listing, err error) {
	err = e.Do(ctx, by, func(t reconcile.Turn) error {
		before := t.View().State
		add, err := before.Add(r, t.View().Now())
		if err != nil {
			return err
		}
		o, err := t.Make(reconcile.Change{
			Command: "add", Verb: policy.VerbAdd, Force: policy.Force{AllowAny: r.AllowAny, AllowEmpty: true}, DryRun: r.DryRun, Sessions: r.Sessions,
			Assess: r.DryRun, // an addition cuts hardly anybody off: only who asks is told
			Edit:   desired.Edit{Claims: policy.Edit{Put: add.News}}, Lasting: add.Lasting,
		})
		if err != nil {
			return err
		}
		entries, changed := standing(add.Claims, o.Next), !o.Plan.Empty()
		answer = listing(t, entries)
		answer.Total, answer.Changed, answer.Was = o.Next.Entries.Len(), &changed, query.FormersOf(entries, o.Plan)
		if r.DryRun {
			answer.Foreseen, answer.Warnings = o.Foreseen(), o.Warnings
			return nil
		}
		answer.Warnings = nesting.Warnings(t.View().State, before, o.Plan, entries)
		if len(add.News) > 0 {
			e.changed(t, "added %s", logtext.Claims(add.News))
		}
		return nil
	})
	return answer, err
}
