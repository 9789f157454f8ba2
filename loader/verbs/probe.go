package verbs

import (
	"context"
	"fmt"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Probe says whom a probe of an owner may knock at, and notes that it begins. The traffic is the
// caller's.
func (e *Engine) Probe(_ context.Context, by api.Caller, r api.ProbeRequest) (api.ProbePlan, error) {
	shown := e.Shown()
	plan, err := shown.View.Probe(shown.Agreed, r.Owner)
	plan.Namespace = netdev.Namespace()
	if err != nil || r.DryRun {
		return plan, err
	}
	if err := e.Record(by, "probe"); err != nil {
		return plan, fmt.Errorf("nothing was probed, because it cannot be noted in the history: %w", err)
	}
	e.log.Warn("a probe of "+r.Owner+" begins", logtext.Caller(by)...)
	return plan, nil
}
