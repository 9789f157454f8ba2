// This file takes away what add let in for a while, once it has been over for so long that
// nobody asks about it any more. A line of a file stays until it is taken out there.

package reconcile

import (
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	keepEnded     = 7 * 24 * time.Hour // DefaultKeepEnded
	retryForgetAt = time.Minute
)

// kept is how long an entry of the CLI stays after its end.
func (o Options) kept() time.Duration {
	if o.KeepEnded == 0 {
		return keepEnded
	}
	return o.KeepEnded
}

// nextForgotten is when the first claim of the CLI has been over for long enough to go;
// zero is never.
func (e *Engine) nextForgotten() time.Time {
	var next time.Time
	for claim := range e.enforced.Made() {
		if !claim.Until.IsZero() {
			next = policy.Earliest(next, claim.Until.Add(e.options.kept()))
		}
	}
	return next
}

// forgetEnded takes away the claims of the CLI that have been over for long enough. It is
// no change that rollback takes back: the last one that somebody made still is. While a
// change waits for its confirmation nothing else changes.
func (e *Engine) forgetEnded() {
	now := e.enforced.Now()
	if e.timers.forgetAt.IsZero() || now.Before(e.timers.forgetAt) || e.unsettled.pending != nil {
		return
	}
	c := change{by: self(), command: "expire", aside: true}
	c.by.Reason = fmt.Sprintf("ended more than %s ago", policy.FormatDuration(e.options.kept()))
	for claim := range e.enforced.EndedMade(now.Add(-e.options.kept())) {
		c.edit.Claims.Remove = append(c.edit.Claims.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: claim.Prefix})
	}
	if len(c.edit.Claims.Remove) > 0 {
		if _, err := e.make(c); err != nil {
			e.options.Log.Error(fmt.Sprintf("take ended entries away: %v", err))
			e.timers.forgetAt = now.Add(retryForgetAt)
			return
		}
		e.say(fmt.Sprintf("took %s away that ended more than %s ago: generation %d", policy.Count(len(c.edit.Claims.Remove), "entry", "entries"),
			policy.FormatDuration(e.options.kept()), e.enforced.Gate.Tables.Generation()))
	}
	e.timers.forgetAt = e.nextForgotten()
}
