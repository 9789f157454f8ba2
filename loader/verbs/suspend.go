// This file stops prefixes and owners at once, whoever lists them, and lets them in again.

package verbs

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
	"github.com/xdpallow/xdpallow/loader/reconcile"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Suspend stops a prefix or an owner. One that is stopped already keeps its time, and its
// reason and uid as long as no other reason is given.
func (e *Engine) Suspend(ctx context.Context, by api.Caller, r api.SuspendRequest) (result api.SuspendResult, err error) {
	err = e.Do(ctx, by, func(t reconcile.Turn) (err error) {
		result, err = e.suspend(t, r)
		return err
	})
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

func (e *Engine) suspend(t reconcile.Turn, r api.SuspendRequest) (api.SuspendResult, error) {
	was := t.View()
	s, err := was.Suspend(r, t.By, time.Now().UTC())
	if err != nil {
		return api.SuspendResult{}, err
	}
	before, again := was.Suspensions[s.Subject]
	o, err := t.Make(reconcile.Change{
		Command: "suspend", Verb: policy.VerbSuspend, Sessions: r.Sessions, DryRun: r.DryRun, Assess: true, Seen: r.Seen,
		Force: policy.Force{AllowEmpty: true, AllowAny: true}, // to stop everybody has been said in so many words
		Edit:  desired.Edit{Overrides: desired.OverridesEdit{Suspend: []store.Suspension{s}}},
	})
	if err != nil {
		return api.SuspendResult{}, err
	}
	result := suspendResult(t.View(), s.Subject)
	result.Already = again && s.Reason == before.Reason && s.Nested == before.Nested
	result.Open = desired.OpenWithin(o.Next, r.Owner)
	result.Warnings = t.View().Passing(s.Subject.String(), compile.Boottime())
	if result.Foreseen = o.Foreseen(); !r.DryRun {
		e.log.Warn(fmt.Sprintf("suspended %s (%s): generation %d", s.Subject, cmp.Or(s.Reason, "no reason given"), result.Generation), logtext.Caller(t.By)...)
	}
	return result, nil
}

// Resume takes a suspension back.
func (e *Engine) Resume(ctx context.Context, by api.Caller, r api.SuspendRequest) (result api.SuspendResult, err error) {
	err = e.Do(ctx, by, func(t reconcile.Turn) error {
		subject, err := t.View().Resume(r)
		if err != nil {
			return err
		}
		edit := desired.Edit{Overrides: desired.OverridesEdit{Resume: []policy.Subject{subject}}}
		if _, err := t.Make(reconcile.Change{Command: "resume", Edit: edit}); err != nil {
			return err
		}
		result = suspendResult(t.View(), subject)
		e.changed(t, "resumed %s", subject)
		return nil
	})
	return result, err
}

// suspendResult tells what holds for a subject in v.
func suspendResult(v *query.View, s policy.Subject) api.SuspendResult {
	r := api.SuspendResult{Generation: v.Generation, Subject: s.String(), Still: v.StoppedBy(s), Suspended: query.SuspensionOf(v.State, s)}
	if s.Owner != "" {
		r.Prefixes = v.Counts.Owner(s.Owner)
		return r
	}
	for range v.Policy.Entries.Under(s.Prefix) {
		r.Prefixes++
	}
	return r
}
