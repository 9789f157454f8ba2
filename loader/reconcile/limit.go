// This file limits how many connections an owner opens.

package reconcile

import (
	"context"
	"fmt"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// Limit says how many openings an owner has, or takes that back.
func (e *Engine) Limit(ctx context.Context, by Caller, r LimitRequest) (LimitResult, error) {
	if err := e.begin(ctx); err != nil {
		return LimitResult{}, err
	}
	defer e.unlock()
	over, err := e.view.State.Limit(r)
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
