// This file limits how many connections an owner opens.

package reconcile

import (
	"context"
	"fmt"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Limit says how many openings an owner has, or takes that back.
func (e *Engine) Limit(ctx context.Context, by Caller, r LimitRequest) (LimitResult, error) {
	if err := e.begin(ctx); err != nil {
		return LimitResult{}, err
	}
	defer e.mu.Unlock()
	if err := policy.ParseName("owner", r.Owner); err != nil {
		return LimitResult{}, err
	}
	over, err := e.limiting(r)
	if err != nil {
		return LimitResult{}, err
	}
	if _, err := e.make(change{by: by, command: "limit", edit: desired.Edit{Overrides: over}}); err != nil {
		return LimitResult{}, err
	}
	result := LimitResult{Generation: e.view.gate.Tables.Generation(), Owner: r.Owner, Limit: query.LimitOf(e.view.Overrides, r.Owner)}
	what := "no limit"
	if l := result.Limit; l != nil {
		what = fmt.Sprintf("%s, burst %d", policy.FormatRate(l.PerSecond), l.Burst)
	}
	e.options.Log.Info(fmt.Sprintf("limited %s to %s: generation %d", r.Owner, what, result.Generation), attributes(by)...)
	return result, nil
}

// limiting is what r does.
func (e *Engine) limiting(r LimitRequest) (desired.OverridesEdit, error) {
	if r.PerSecond == 0 {
		if _, limited := e.view.Limits[r.Owner]; !limited {
			return desired.OverridesEdit{}, &policy.Refused{What: fmt.Sprintf("%s has no limit", r.Owner), Hint: "xdpallow owners"}
		}
		return desired.OverridesEdit{Unlimit: []string{r.Owner}}, nil
	}
	if err := e.knows(r.Owner); err != nil {
		return desired.OverridesEdit{}, err
	}
	burst := max(r.Burst, 1)
	if r.Burst == 0 {
		burst = desired.BurstOf(r.PerSecond)
	}
	l := store.Limit{Owner: r.Owner, PerSecond: r.PerSecond, Burst: burst}
	return desired.OverridesEdit{Limit: []store.Limit{l}}, desired.CheckLimit(l)
}
