// This file stops prefixes and owners at once, whoever lists them, and lets them in
// again.

package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Suspend stops a prefix or an owner. One that is stopped already keeps its time, and its
// reason and uid as long as no other reason is given.
func (e *Engine) Suspend(ctx context.Context, by api.Caller, r api.SuspendRequest) (api.SuspendResult, error) {
	result, err := e.suspend(ctx, by, r)
	if err != nil || !r.Cut || r.DryRun {
		return result, err
	}
	n, err := e.cutOff(impact.Of(r.Subject))
	result.Cut = &n
	if err != nil {
		return result, fmt.Errorf("%s is suspended; %w", r.Subject, err)
	}
	return result, nil
}

func (e *Engine) suspend(ctx context.Context, by api.Caller, r api.SuspendRequest) (api.SuspendResult, error) {
	if err := e.begin(ctx); err != nil {
		return api.SuspendResult{}, err
	}
	defer e.unlock()
	s, err := e.enforced.Suspend(r, by, time.Now().UTC())
	if err != nil {
		return api.SuspendResult{}, err
	}
	before, again := e.enforced.Suspensions[s.Subject]
	assess, err := assessed(r.Seen)
	if err != nil {
		return api.SuspendResult{}, err
	}
	o, err := e.make(change{
		by: by, command: "suspend", verb: policy.VerbSuspend, peers: r.Sessions, dryRun: r.DryRun, assess: assess,
		force: policy.Force{AllowEmpty: true, AllowAny: true}, // to stop everybody has been said in so many words
		edit:  desired.Edit{Overrides: desired.OverridesEdit{Suspend: []store.Suspension{s}}},
	})
	if err != nil {
		return api.SuspendResult{}, err
	}
	result := e.suspendResult(s.Subject)
	result.Already = again && s.Reason == before.Reason && s.Nested == before.Nested
	result.Open = desired.OpenWithin(o.next, r.Owner)
	result.Warnings = e.enforced.Passing(s.Subject.String(), compile.Boottime())
	if result.Foreseen = query.ForeseenOf(o.cuts, o.refused); r.DryRun {
		return result, nil
	}
	e.options.Log.Warn(fmt.Sprintf("suspended %s (%s): generation %d", s.Subject, cmp.Or(s.Reason, "no reason given"), result.Generation), logtext.Caller(by)...)
	return result, nil
}

// Resume takes a suspension back.
func (e *Engine) Resume(ctx context.Context, by api.Caller, r api.SuspendRequest) (api.SuspendResult, error) {
	if err := e.begin(ctx); err != nil {
		return api.SuspendResult{}, err
	}
	defer e.unlock()
	subject, err := e.enforced.Resume(r)
	if err != nil {
		return api.SuspendResult{}, err
	}
	_, err = e.make(change{by: by, command: "resume", edit: desired.Edit{Overrides: desired.OverridesEdit{Resume: []policy.Subject{subject}}}})
	if err != nil {
		return api.SuspendResult{}, err
	}
	result := e.suspendResult(subject)
	e.options.Log.Info(fmt.Sprintf("resumed %s: generation %d", subject, result.Generation), logtext.Caller(by)...)
	return result, nil
}

// suspendResult tells what holds for a subject now.
func (e *Engine) suspendResult(s policy.Subject) api.SuspendResult {
	r := api.SuspendResult{Generation: e.enforced.Gate.Tables.Generation(), Subject: s.String(), Still: e.enforced.StoppedBy(s), Suspended: query.SuspensionOf(e.enforced.State, s)}
	if s.Owner != "" {
		r.Prefixes = e.enforced.Counts.Owner(s.Owner)
		return r
	}
	for range e.enforced.Policy.Entries.Under(s.Prefix) {
		r.Prefixes++
	}
	return r
}
