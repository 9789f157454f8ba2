package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file takes a change back unless somebody confirms it: who locked himself out
// does nothing, and is let in again. That it waits, and until when, is recorded with
// the change itself, so a daemon that was killed takes it back when it starts again.

// retryEvery is how soon a rollback that failed is tried again.
const retryEvery = 5 * time.Second

// Confirm keeps the change that waits for it.
func (e *Engine) Confirm(ctx context.Context, by api.Caller, _ api.ConfirmRequest) (api.Waiting, error) {
	if err := e.begin(ctx); err != nil {
		return api.Waiting{}, err
	}
	defer e.unlock()
	if e.pending != nil && e.left() <= 0 {
		e.rollBackIfDue()
	}
	if e.pending == nil {
		what := "no change waits for its confirmation"
		if e.last != nil && e.last.Command == unconfirmed {
			what += fmt.Sprintf("; the last one was rolled back at %s", e.last.Time.Format(time.RFC3339))
		}
		return api.Waiting{}, &policy.Refused{What: what, Hint: "xdpallow status" + e.options.HintFlags}
	}
	was := *e.waiting()
	record := change{by: by, command: "confirm"}.logged(policy.Plan{})
	if err := e.store.Apply(store.Change{Settle: true, Log: record}); err != nil {
		return api.Waiting{}, fmt.Errorf("record in %s: %w", e.options.State, err)
	}
	record.After = e.lastGeneration()
	e.pending, e.last = nil, query.ChangeOf(*record)
	e.options.Log.Info(fmt.Sprintf("%s confirmed: generation %d stays", was.Command, was.Generation), attributes(by)...)
	return was, nil
}

// window is how long a change waits, in the words of a request; "" is not at all.
func (e *Engine) window(lasts string) (time.Duration, error) {
	if lasts == "" {
		return 0, nil
	}
	return policy.ParseDuration(lasts)
}

// confirmation is what is recorded of a change that waits for lasts.
func (e *Engine) confirmation(command string, lasts time.Duration) *store.Confirm {
	now := time.Now().UTC()
	return &store.Confirm{
		Time: now, Deadline: now.Add(lasts).Truncate(time.Second), Command: command,
		BootID: e.bootID, Boottime: compile.Boottime() + lasts,
	}
}

// await notes that a change waits from now on.
func (e *Engine) await(confirm store.Confirm, generation uint64) {
	confirm.Generation = generation
	e.pending, e.retry = &confirm, time.Time{}
	e.say(fmt.Sprintf("%s: generation %d is rolled back at %s unless: xdpallow confirm%s",
		confirm.Command, generation, confirm.Deadline.Format(time.RFC3339), e.options.HintFlags))
	e.poke()
}

// left is how long the confirmation of what waits may still come.
func (e *Engine) left() time.Duration {
	return e.pending.Left(time.Now(), e.bootID, compile.Boottime())
}

// waiting reports what waits; nil when nothing does.
func (e *Engine) waiting() *api.Waiting {
	if e.pending == nil {
		return nil
	}
	return query.WaitingOf(*e.pending, e.left())
}

// notWhileWaiting refuses what people change while a change waits. It would be taken back
// with that, by a timer and behind the back of who made it. Suspensions and limits are
// set aside instead: stolen keys wait for nobody's confirmation, and who is stopped stays
// so whatever becomes of the change that waits.
func (e *Engine) notWhileWaiting(c change) error {
	if e.pending == nil || c.settle || c.dryRun || c.verb == policy.VerbRun || c.verb == "" || c.onlyOverrides() {
		return nil
	}
	return &policy.Refused{
		What: fmt.Sprintf("the %s of generation %d waits for its confirmation for another %v, and a change now would be rolled back with it: confirm it, or roll it back",
			e.pending.Command, e.pending.Generation, max(e.left(), 0).Round(time.Second)),
		Hint: "xdpallow confirm" + e.options.HintFlags,
	}
}

// unconfirmed is the command of a rollback that nobody asked for.
const unconfirmed = "rollback (not confirmed)"

// rollBackIfDue takes back what nobody confirmed in time. No guard rail is asked:
// what stood a moment ago stands again, and nobody is there to be told otherwise.
func (e *Engine) rollBackIfDue() {
	if e.pending == nil || e.left() > 0 || time.Now().Before(e.retry) {
		return
	}
	was := *e.pending
	c, err := e.inverse()
	if err == nil {
		c.by, c.command = self(), unconfirmed
		_, err = e.make(c)
	}
	if err != nil {
		e.retry = time.Now().Add(retryEvery)
		e.noted["rollback_failed"] = api.Problem{
			Code: "rollback_failed", Subject: was.Command, Text: fmt.Sprintf("nobody confirmed generation %d, and it cannot be rolled back: %v", was.Generation, err),
			Hint: "xdpallow rollback",
		}
		e.options.Log.Error(fmt.Sprintf("roll back generation %d: %v", was.Generation, err))
		return
	}
	delete(e.noted, "rollback_failed")
	e.say(fmt.Sprintf("%s was not confirmed: rolled back generation %d, now generation %d", was.Command, was.Generation, e.view.gate.Tables.Generation()))
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
	if e.pending != nil {
		sooner(max(e.left(), time.Until(e.retry)))
	}
	for _, a := range e.view.Audits {
		sooner(time.Duration(a.Boottime) - compile.Boottime())
	}
	if !e.forgetAt.IsZero() && e.pending == nil {
		sooner(e.forgetAt.Sub(e.view.now()))
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

// poke has Run look at what is due next.
func (e *Engine) poke() {
	select {
	case e.poked <- struct{}{}:
	default:
	}
}
