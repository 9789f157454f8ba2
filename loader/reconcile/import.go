// This file makes what commands made equal an export, in one change.

package reconcile

import (
	"context"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// Import makes what commands made equal an export: claims, suspensions and limits, all or
// none. It lets in nobody who is stopped unless AllowOpen says that it is meant.
func (e *Engine) Import(ctx context.Context, by api.Caller, r api.ImportRequest) (api.Plan, error) {
	api.Progress(ctx)("reading " + r.Name)
	x, err := transfer.Read(r.Name, r.Text)
	if err != nil {
		return api.Plan{}, err
	}
	if err := e.begin(ctx); err != nil {
		return api.Plan{}, err
	}
	defer e.unlock()
	over, err := transfer.Import(e.enforced.State, x.Overrides, by, r.AllowAny, time.Now().UTC())
	if err != nil {
		return api.Plan{}, err
	}
	plan, err := e.replaced(r.ReplaceRequest, x.Claims, change{
		by: by, tell: api.Progress(ctx), command: "import", verb: policy.VerbImport, edit: desired.Edit{Overrides: over}, force: policy.Force{AllowOpen: r.AllowOpen},
	})
	plan.Warnings = append(x.Warnings, plan.Warnings...)
	return plan, err
}
