package verbs

import (
	"context"
	"fmt"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// Limit says how many connections an owner may open, or takes that back.
func (e *Engine) Limit(ctx context.Context, by api.Caller, r api.LimitRequest) (result api.LimitResult, err error) {
	err = e.Do(ctx, by, func(t reconcile.Turn) error {
		over, err := t.View().State.Limit(r)
		if err != nil {
			return err
		}
		if _, err := t.Make(reconcile.Change{Command: "limit", Edit: desired.Edit{Overrides: over}}); err != nil {
			return err
		}
		result = api.LimitResult{Generation: t.View().Generation, Owner: r.Owner, Limit: query.LimitOf(t.View().State, r.Owner)}
		what := "no limit"
		if l := result.Limit; l != nil {
			what = fmt.Sprintf("%s, burst %d", policy.FormatRate(l.PerSecond), l.Burst)
		}
		e.changed(t, "limited %s to %s", r.Owner, what)
		return nil
	})
	return result, err
}
