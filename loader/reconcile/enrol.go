package reconcile

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Enrol lets the address of r in, if its owner may have it. The error is an *enrol.Refused, or why the
// change could not be made. It waits for no confirmation of another change, and no rollback takes it back.
func (e *Engine) Enrol(ctx context.Context, by api.Caller, r enrol.Request) (enrol.Decision, error) {
	if err := e.begin(ctx); err != nil {
		return enrol.Decision{}, err
	}
	defer e.unlock()
	own := e.files.enrolled.Of(r.Owner, e.enforced.Of(policy.OriginEnrol), func(p netip.Prefix) (policy.Claim, bool) {
		return e.enforced.ClaimedBy(policy.OriginEnrol, p)
	})
	d, err := e.options.Enrol.Decide(r, own, e.enforced.Policy, e.enforced.Now())
	if err != nil || d.Edit.Empty() {
		return d, err
	}
	by.Command, by.Reason = fmt.Sprintf("enrol %s %s", r.Owner, d.Claim.Prefix), r.Certificate
	if err := e.changeEnrolled(change{by: by, edit: desired.Edit{Claims: d.Edit}, unlogged: d.Result == enrol.Renewed}); err != nil {
		return d, err
	}
	e.files.enrolled.Add(d.Claim)
	e.timers.forgetAt = policy.Earliest(e.timers.forgetAt, enrol.Leaves(d.Claim.Until))
	e.say(fmt.Sprintf("%s: generation %d", d, e.enforced.Gate.Tables.Generation()))
	return d, nil
}

// changeEnrolled makes c, which is of what is enrolled and of nothing else.
func (e *Engine) changeEnrolled(c change) error {
	c.verb, c.aside, c.follow = policy.VerbFollow, true, []store.Followed{{Origin: policy.OriginEnrol}}
	_, err := e.make(c)
	return err
}
