// This file stops prefixes and owners at once, whoever lists them, and lets them in
// again.

package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Suspend stops a prefix or an owner. One that is stopped already keeps its time, and its
// reason and uid as long as no other reason is given.
func (e *Engine) Suspend(ctx context.Context, by Caller, r SuspendRequest) (SuspendResult, error) {
	result, err := e.suspend(ctx, by, r)
	if err != nil || !r.Cut || r.DryRun {
		return result, err
	}
	n, err := e.cutOff(impact.Belonging(r.Subject))
	result.Cut = &n
	if err != nil {
		return result, fmt.Errorf("%s is suspended; %w", r.Subject, err)
	}
	return result, nil
}

func (e *Engine) suspend(ctx context.Context, by Caller, r SuspendRequest) (SuspendResult, error) {
	if err := e.begin(ctx); err != nil {
		return SuspendResult{}, err
	}
	defer e.mu.Unlock()
	subject, err := requestedSubject(r.Subject)
	if err != nil {
		return SuspendResult{}, err
	}
	if !r.AllowAny && r.Owner == "" {
		if err := policy.GuardSubject(subject.Prefix, "suspended"); err != nil {
			return SuspendResult{}, err
		}
	}
	if r.Nested && r.Owner == "" {
		return SuspendResult{}, &policy.InputError{What: "--nested is about what others have in an owner's network; a prefix is suspended with all that lies in it", Hint: "xdpallow suspend " + subject.String()}
	}
	before, again := e.view.Suspensions[subject]
	if !again {
		if err := e.touches(subject); err != nil {
			return SuspendResult{}, err
		}
	}
	now := time.Now().UTC()
	s := store.Suspension{Subject: subject, Reason: by.Reason, UID: by.UID, Time: now.Truncate(time.Second), Unnoted: r.Owner != "", Nested: r.Nested}
	if again {
		s.Time = before.Time
		if by.Reason == "" {
			s.Reason, s.UID = before.Reason, before.UID
		}
	}
	if again && r.Owner != "" {
		s = desired.Holding(s, desired.HoldOf(before).Tightened(e.view.Policy, r.Nested, now))
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return SuspendResult{}, err
	}
	o, err := e.make(change{
		by: by, command: "suspend", verb: policy.VerbSuspend, peers: r.Sessions, dryRun: r.DryRun, assess: assess,
		force: policy.Force{AllowEmpty: true, AllowAny: true}, // to stop everybody has been said in so many words
		edit:  desired.Edit{Overrides: desired.OverridesEdit{Suspend: []store.Suspension{s}}},
	})
	if err != nil {
		return SuspendResult{}, err
	}
	result := e.suspendResult(subject)
	result.Already = again && s.Reason == before.Reason && s.Nested == before.Nested
	result.Open = openWithin(o.next, r.Owner)
	result.Warnings = e.view.Passing(subject.String(), compile.Boottime())
	if result.Foreseen = o.foreseen(); r.DryRun {
		return result, nil
	}
	e.options.Log.Warn(fmt.Sprintf("suspended %s (%s): generation %d", subject, cmp.Or(s.Reason, "no reason given"), result.Generation), attributes(by)...)
	return result, nil
}

// Resume takes a suspension back.
func (e *Engine) Resume(ctx context.Context, by Caller, r SuspendRequest) (SuspendResult, error) {
	if err := e.begin(ctx); err != nil {
		return SuspendResult{}, err
	}
	defer e.mu.Unlock()
	subject, err := requestedSubject(r.Subject)
	if err != nil {
		return SuspendResult{}, err
	}
	if _, found := e.view.Suspensions[subject]; !found {
		what, hint := fmt.Sprintf("%s is not suspended", subject), "xdpallow status"
		if stops := e.stoppedBy(subject); len(stops) > 0 {
			what, hint = fmt.Sprintf("%s is suspended by %s", subject, stops[0]), "xdpallow resume "+stops[0]
		}
		return SuspendResult{}, &policy.Refused{What: what, Hint: hint}
	}
	_, err = e.make(change{by: by, command: "resume", edit: desired.Edit{Overrides: desired.OverridesEdit{Resume: []policy.Subject{subject}}}})
	if err != nil {
		return SuspendResult{}, err
	}
	result := e.suspendResult(subject)
	e.options.Log.Info(fmt.Sprintf("resumed %s: generation %d", subject, result.Generation), attributes(by)...)
	return result, nil
}

// requestedSubject returns s with a canonical prefix, or an *InputError.
func requestedSubject(s policy.Subject) (policy.Subject, error) {
	if s.Owner == "" && s.Prefix.IsValid() {
		prefix, _, err := policy.ParsePrefix(s.Prefix.String())
		return policy.Subject{Prefix: prefix}, err
	}
	if s.Prefix.IsValid() {
		return policy.Subject{}, &policy.InputError{What: fmt.Sprintf("%s and %s are two", s.Prefix, s.Owner)}
	}
	return policy.Subject{Owner: s.Owner}, policy.ParseName("owner", s.Owner)
}

// touches refuses a subject that nobody who is listed belongs to: it was mistyped.
func (e *Engine) touches(s policy.Subject) error {
	if s.Owner != "" {
		return e.knows(s.Owner)
	}
	for range e.view.Policy.Entries.Under(s.Prefix) {
		return nil
	}
	for range e.view.Policy.Entries.Covering(s.Prefix) {
		return nil
	}
	return &policy.Refused{What: fmt.Sprintf("nothing that is listed touches %s", s.Prefix), Hint: "xdpallow check " + s.Prefix.Addr().String()}
}

// knows refuses an owner of whom nothing is said.
func (e *Engine) knows(owner string) error {
	if e.view.Counts.Owners[owner] > 0 {
		return nil
	}
	if slices.Contains(slices.Collect(e.view.Overrides.NamedOwners), owner) {
		return nil
	}
	return &policy.Refused{What: fmt.Sprintf("no prefix belongs to %s", owner), Hint: "xdpallow owners"}
}

// stoppedBy are the names by which s is stopped beside its own.
func (e *Engine) stoppedBy(s policy.Subject) []string {
	names := []string{}
	if s.Owner != "" {
		return names
	}
	for by := range e.view.Suspensions {
		if by.Prefix.IsValid() && by.Prefix != s.Prefix && by.Prefix.Overlaps(s.Prefix) && by.Prefix.Bits() < s.Prefix.Bits() {
			names = append(names, by.String())
		}
	}
	state := e.view.Policy
	for around := range state.Entries.Covering(s.Prefix) {
		if owner := state.OwnerOf(around); state.Suspended.Owner(owner) {
			names = append(names, owner)
		}
	}
	if owner := state.OwnerOf(&policy.Entry{Prefix: s.Prefix}); state.Suspended.Owner(owner) {
		names = append(names, owner)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// suspendResult tells what holds for a subject now.
func (e *Engine) suspendResult(s policy.Subject) SuspendResult {
	r := SuspendResult{Generation: e.view.gate.Tables.Generation(), Subject: s.String(), Still: e.stoppedBy(s)}
	if by, found := e.view.Suspensions[s]; found {
		one := query.SuspensionOf(by)
		r.Suspended = &one
	}
	if s.Owner != "" {
		r.Prefixes = e.view.Counts.Owners[s.Owner]
		return r
	}
	for range e.view.Policy.Entries.Under(s.Prefix) {
		r.Prefixes++
	}
	return r
}

// openWithin are the entries of others in the network of owner, who is suspended in
// state, that go on letting somebody in.
func openWithin(state policy.State, owner string) []Whose {
	open := []Whose{}
	for p := range state.Suspended.HeldBy(owner) {
		for e := range state.Entries.Under(p) {
			if e.Owner != "" && e.Owner != owner && !state.IsSuspended(e) {
				open = append(open, Whose{Prefix: e.Prefix, Owner: e.Owner})
			}
		}
	}
	slices.SortFunc(open, func(a, b Whose) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return slices.Compact(open)
}
