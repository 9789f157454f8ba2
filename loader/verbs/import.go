package verbs

import (
	"context"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// Import makes what commands made equal an export: claims, suspensions and limits, all or
// none. It lets in nobody who is stopped unless AllowOpen says that it is meant.
func (e *Engine) Import(ctx context.Context, by api.Caller, r api.ImportRequest) (plan api.Plan, err error) {
	api.Progress(ctx)("reading " + r.Name)
	x, err := transfer.Read(r.Name, r.Text)
	if err != nil {
		return api.Plan{}, err
	}
	err = e.Do(ctx, by, func(t reconcile.Turn) error {
		over, err := transfer.Import(t.View().State, x.Overrides, by, r.AllowAny, time.Now().UTC())
		if err != nil {
			return err
		}
		plan, err = e.replace(t, r.ReplaceRequest, x.Claims, reconcile.Change{
			Command: "import", Verb: policy.VerbImport, Edit: desired.Edit{Overrides: over}, Force: policy.Force{AllowOpen: r.AllowOpen},
			Read: func() []policy.Claim {
				x, _ := transfer.Read(r.Name, r.Text)
				return x.Claims
			},
		}, "imported")
		return err
	})
	plan.Warnings = append(x.Warnings, plan.Warnings...)
	return plan, err
}
