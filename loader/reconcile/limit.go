// This file limits how many connections an owner opens.

package reconcile

import (
	"context"
	"fmt"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// Limit says how many openings an owner has, or takes that back.
func (e *Engine) Limit(ctx context.Context, by api.Caller, r api.LimitRequest) (api.LimitResult, error) {
	if err := e.begin(ctx); err != nil {
		return api.LimitResult{}, err
	}
	defer e.unlock()
	over, err := e.enforced.State.Limit(r)
	if err != nil {
		return api.LimitResult{}, err
	}
	if _, err := e.make(change{by: by, command: "limit", edit: desired.Edit{Overrides: over}}); err != nil {
		return api.LimitResult{}, err
	}
	result := api.LimitResult{Generation: e.enforced.Gate.Tables.Generation(), Owner: r.Owner, Limit: query.LimitOf(e.enforced.State, r.Owner)}
	what := "no limit"
	if l := result.Limit; l != nil {
		what = fmt.Sprintf("%s, burst %d", policy.FormatRate(l.PerSecond), l.Burst)
	}
	e.options.Log.Info(fmt.Sprintf("limited %s to %s: generation %d", r.Owner, what, result.Generation), logtext.Caller(by)...)
	return result, nil
}
