package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/undo"
)

// This file takes a change back unless somebody confirms it: who locked himself out
// does nothing, and is let in again. That it waits, and until when, is recorded with
// the change itself, so a daemon that was killed takes it back when it starts again.

// retryEvery is how soon a rollback that failed is tried again.
const retryEvery = 5 * time.Second

// unsettled is what is not for good.
type unsettled struct {
	pending *store.Confirm // what waits for its confirmation, or nil
	retry   time.Time      // when a rollback that failed is tried again
	held    undo.Held      // files that were rolled back
	bootID  string         // "" where it cannot be read: then nothing is of this boot
}

// holds reports whether a start must not take over what origin says: it was rolled
// back, or may yet be.
func (u *unsettled) holds(origin policy.Origin) bool { return u.held.Holds(origin, u.pending != nil) }

// left is how long the confirmation of what waits may still come.
func (u *unsettled) left() time.Duration {
	return u.pending.Left(time.Now(), u.bootID, compile.Boottime())
}

// waiting reports what waits; nil when nothing does.
func (u *unsettled) waiting() *api.Waiting {
	if u.pending == nil {
		return nil
	}
	return query.WaitingOf(*u.pending, u.left())
}

// confirmation is what is recorded of a change that waits for lasts.
func (u *unsettled) confirmation(command string, lasts time.Duration) *store.Confirm {
	now := time.Now().UTC()
	return &store.Confirm{
		Time: now, Deadline: now.Add(lasts).Truncate(time.Second), Command: command,
		BootID: u.bootID, Boottime: compile.Boottime() + lasts,
	}
}

// Confirm keeps the change that waits for it.
func (e *Engine) Confirm(ctx context.Context, by api.Caller, _ api.ConfirmRequest) (api.Waiting, error) {
	if err := e.begin(ctx); err != nil {
		return api.Waiting{}, err
	}
	defer e.unlock()
	if e.unsettled.pending != nil && e.unsettled.left() <= 0 {
		e.rollBackIfDue()
	}
	if e.unsettled.pending == nil {
		what := "no change waits for its confirmation"
		if e.disk.last != nil && e.disk.last.Command == unconfirmed {
			what += fmt.Sprintf("; the last one was rolled back at %s", e.disk.last.Time.Format(time.RFC3339))
		}
		return api.Waiting{}, &policy.Refused{What: what, Hint: "xdpallow status" + e.options.HintFlags}
	}
	was := *e.unsettled.waiting()
	if err := e.record(by, "confirm", store.Change{Settle: true}); err != nil {
		return api.Waiting{}, fmt.Errorf("record in %s: %w", e.options.State, err)
	}
	e.unsettled.pending = nil
	e.options.Log.Info(fmt.Sprintf("%s confirmed: generation %d stays", was.Command, was.Generation), logtext.Caller(by)...)
	if e.files.followed.settings != nil { // no rollback needs their lists now
		e.forgetUnnamed(change{by: by, command: "confirm", verb: policy.VerbReload})
	}
	return was, nil
}

// window is how long a change waits, in the words of a request; "" is not at all.
func window(lasts string) (time.Duration, error) {
	if lasts == "" {
		return 0, nil
	}
	return policy.ParseDuration(lasts)
}

// await notes that a change waits from now on.
func (e *Engine) await(confirm store.Confirm, generation uint64) {
	confirm.Generation = generation
	e.unsettled.pending, e.unsettled.retry = &confirm, time.Time{}
	e.say(fmt.Sprintf("%s: generation %d is rolled back at %s unless: xdpallow confirm%s",
		confirm.Command, generation, confirm.Deadline.Format(time.RFC3339), e.options.HintFlags))
	e.timers.poke()
}

// notWhileWaiting refuses what people change while a change waits. It would be taken back
// with that, by a timer and behind the back of who made it. Suspensions and limits are
// set aside instead: stolen keys wait for nobody's confirmation, and who is stopped stays
// so whatever becomes of the change that waits. So are lists that are kept elsewhere.
func (e *Engine) notWhileWaiting(c change) error {
	if e.unsettled.pending == nil || c.settle || c.dryRun || c.verb == policy.VerbRun || c.verb == policy.VerbFollow || c.verb == "" || c.onlyOverrides() {
		return nil
	}
	return &policy.Refused{
		What: fmt.Sprintf("the %s of generation %d waits for its confirmation for another %v, and a change now would be rolled back with it: confirm it, or roll it back",
			e.unsettled.pending.Command, e.unsettled.pending.Generation, max(e.unsettled.left(), 0).Round(time.Second)),
		Hint: "xdpallow confirm" + e.options.HintFlags,
	}
}

// unconfirmed is the command of a rollback that nobody asked for.
const unconfirmed = "rollback (not confirmed)"

// rollBackIfDue takes back what nobody confirmed in time. No guard rail is asked:
// what stood a moment ago stands again, and nobody is there to be told otherwise.
func (e *Engine) rollBackIfDue() {
	if e.unsettled.pending == nil || e.unsettled.left() > 0 || time.Now().Before(e.unsettled.retry) {
		return
	}
	was := *e.unsettled.pending
	c, err := e.inverse()
	if err == nil {
		c.by, c.command = self(), unconfirmed
		_, err = e.make(c)
	}
	if err != nil {
		e.unsettled.retry = time.Now().Add(retryEvery)
		e.problems.Note(api.Problem{
			Code: "rollback_failed", Subject: was.Command, Text: fmt.Sprintf("nobody confirmed generation %d, and it cannot be rolled back: %v", was.Generation, err),
			Hint: "xdpallow rollback",
		})
		e.options.Log.Error(fmt.Sprintf("roll back generation %d: %v", was.Generation, err))
		return
	}
	e.problems.Forget("rollback_failed")
	e.followBefore(c)
	e.say(fmt.Sprintf("%s was not confirmed: rolled back generation %d, now generation %d", was.Command, was.Generation, e.enforced.Gate.Tables.Generation()))
	e.sayHeld()
}

// nextDue fires when an audit or the time to confirm is over.
func (e *Engine) nextDue() <-chan time.Time {
	e.mu.Lock()
	defer e.unlock()
	var next time.Duration
	sooner := func(left time.Duration) {
		if left = max(left, 0) + time.Millisecond; next == 0 || left < next {
			next = left
		}
	}
	if e.unsettled.pending != nil {
		sooner(max(e.unsettled.left(), time.Until(e.unsettled.retry)))
	}
	for _, a := range e.enforced.Audits {
		sooner(time.Duration(a.Boottime) - compile.Boottime())
	}
	if !e.timers.forgetAt.IsZero() && e.unsettled.pending == nil {
		sooner(e.timers.forgetAt.Sub(e.enforced.Now()))
	}
	if next == 0 {
		return nil
	}
	return time.After(next)
}

// due does what is due. It is asked every few seconds, too: while the host sleeps, the
// clock of the timer does.
func (e *Engine) due() {
	e.mu.Lock()
	defer e.unlock()
	e.rollBackIfDue()
	e.endAudits()
	e.forgetEnded()
}
