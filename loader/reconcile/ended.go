// This file takes away what add and enrolment let in for a while, once it has been over for so long
// that nobody asks about it any more. A line of a file stays until it is taken out there.

package reconcile

import (
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/enrol"
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

// leaves is when a claim goes that ends; zero is never.
func (o Options) leaves(c policy.Claim) time.Time {
	switch {
	case c.Until.IsZero():
		return time.Time{}
	case c.Origin == policy.OriginEnrol:
		return enrol.Leaves(c.Until)
	}
	return c.Until.Add(o.kept())
}

// ends are the origins whose claims go by themselves.
var ends = []policy.Origin{policy.OriginCLI, policy.OriginEnrol}

// nextForgotten is when the first claim has been over for long enough to go; zero is never.
func (e *Engine) nextForgotten() time.Time {
	var next time.Time
	for _, origin := range ends {
		for claim := range e.enforced.Of(origin) {
			next = policy.Earliest(next, e.options.leaves(claim))
		}
	}
	return next
}

// forgetEnded takes away the claims that have been over for long enough. It is
// no change that rollback takes back: the last one that somebody made still is. While a
// change waits for its confirmation nothing else changes.
func (e *Engine) forgetEnded() {
	now := e.enforced.Now()
	if e.timers.forgetAt.IsZero() || now.Before(e.timers.forgetAt) || e.unsettled.pending != nil {
		return
	}
	for _, origin := range ends {
		if err := e.forgetEndedOf(origin, now); err != nil {
			e.options.Log.Error(fmt.Sprintf("take ended entries away: %v", err))
			e.timers.forgetAt = now.Add(retryForgetAt)
			return
		}
	}
	e.timers.forgetAt = e.nextForgotten()
}

func (e *Engine) forgetEndedOf(origin policy.Origin, now time.Time) error {
	c := change{by: self(), command: "expire", aside: true}
	for claim := range e.enforced.Of(origin) {
		if at := e.options.leaves(claim); !at.IsZero() && !at.After(now) {
			c.edit.Claims.Remove = append(c.edit.Claims.Remove, claim.Key())
		}
	}
	if len(c.edit.Claims.Remove) == 0 {
		return nil
	}
	if origin == policy.OriginEnrol {
		c.unlogged = true // its end stands where it was enrolled
		return e.changeEnrolled(c)
	}
	kept := policy.FormatDuration(e.options.kept())
	c.by.Reason = fmt.Sprintf("ended more than %s ago", kept)
	if _, err := e.make(c); err != nil {
		return err
	}
	e.say(fmt.Sprintf("took %s away that ended more than %s ago: generation %d",
		policy.Count(len(c.edit.Claims.Remove), "entry", "entries"), kept, e.enforced.Gate.Tables.Generation()))
	return nil
}
