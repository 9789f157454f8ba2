// This file says when a followed origin is read: later after each failure, and spread by chance,
// so that a fleet of hosts does not overload the server that they share.

package source

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	firstRetry = 5 * time.Second
	longest    = time.Hour // that a server may ask us to stay away
)

// look is one look at an origin. kicked is whether somebody asked for it. after is how long the
// other end asks us to stay away.
type look func(ctx context.Context, kicked bool) (after time.Duration, failed bool)

// poll calls do now, then every so often, and at once on a kick, until ctx ends. After a failure
// it waits 5 s, then twice as long each time, at most every. A tenth of chance keeps a thousand
// hosts that started together from asking together.
func poll(ctx context.Context, every time.Duration, kick <-chan struct{}, do look) {
	failures := 0
	for kicked := false; ; {
		after, failed := do(ctx, kicked)
		wait := every
		if failed {
			wait = min(firstRetry<<min(failures, 20), every)
			failures++
		} else {
			failures = 0
		}
		wait += time.Duration((rand.Float64()*2 - 1) * float64(wait) / 10)
		timer := time.NewTimer(max(wait, min(after, longest)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-kick:
			kicked = true
		case <-timer.C:
			kicked = false
		}
		timer.Stop()
	}
}

// kick makes poll look again. One that waits already is enough.
func kick(waiting chan<- struct{}) {
	select {
	case waiting <- struct{}{}:
	default:
	}
}

// isRefusal reports whether take refused what was read, and not how: it would refuse it again.
func isRefusal(err error) bool {
	_, refused := errors.AsType[*policy.Refused](err)
	_, wrong := errors.AsType[*policy.InputError](err)
	return refused || wrong
}
