// Package edits says what a command makes of a fleet's list: by the rules and guard rails of the
// same command on one host, because here is the only place with an operator who can answer.
package edits

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Edit is one command. On is called once or more, and leaves in the other fields what the last
// call found.
type Edit struct {
	Verb   policy.Verb
	Force  policy.Force
	DryRun bool

	services  []string // that the command names
	claims    func(d desired.State, now time.Time) (policy.Edit, error)
	overrides func(o desired.Overrides, now time.Time) (desired.OverridesEdit, error)

	Plan    policy.Plan
	Named   []policy.Entry // of add: the entries that it names, as they are afterwards
	Was     desired.State
	After   desired.State
	Refused *policy.Refused // of a dry run: the change itself would be refused
	Lines   []string        // suspensions and limits that come and go, in words
}

// Add is `fleet add`.
func Add(r api.AddRequest) *Edit {
	e := &Edit{Verb: policy.VerbAdd, Force: policy.Force{AllowAny: r.AllowAny, AllowEmpty: true}, DryRun: r.DryRun}
	lines, _, _ := policy.ParseList("add", policy.OriginCLI, strings.NewReader(strings.Join(r.Prefixes, "\n"))) // mistakes are told below
	e.services = append(named(lines), slices.DeleteFunc(slices.Clone(r.Services), func(s string) bool { return s == api.EveryService })...)
	e.claims = func(d desired.State, now time.Time) (policy.Edit, error) {
		add, err := d.Add(r, now)
		e.Named = nil
		for _, claim := range add.Claims {
			e.Named = append(e.Named, policy.EntryOf(claim))
		}
		slices.SortFunc(e.Named, func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
		return policy.Edit{Put: add.News}, err
	}
	return e
}

// Remove is `fleet remove`.
func Remove(r api.RemoveRequest) *Edit {
	e := &Edit{Verb: policy.VerbRemove, Force: policy.Force{AllowEmpty: r.AllowEmpty}, DryRun: r.DryRun}
	e.claims = func(d desired.State, now time.Time) (policy.Edit, error) {
		gone, err := d.Remove(r, now)
		return desired.Without(gone).Claims, err
	}
	return e
}

// Replace is `fleet replace`. The error is a mistake in the list.
func Replace(r api.ReplaceRequest) (e *Edit, warnings []string, err error) {
	claims, warnings, err := policy.ParseSorted(r.Name, policy.OriginCLI, strings.NewReader(r.Text))
	if err != nil {
		return nil, warnings, err
	}
	e = &Edit{
		Verb: policy.VerbReplace, DryRun: r.DryRun,
		Force: policy.Force{AllowEmpty: r.AllowEmpty, AllowAny: r.AllowAny, ForceShrink: r.ForceShrink},
	}
	e.services = named(claims)
	e.claims = func(d desired.State, _ time.Time) (policy.Edit, error) {
		return d.Replace(r, slices.Clone(claims)) // again, where another edit came first
	}
	return e, warnings, nil
}

// Restore makes a list what content has: entries, suspensions and limits.
func Restore(content *fleet.Content, force policy.Force, dryRun bool) *Edit {
	e := &Edit{Verb: policy.VerbRollback, Force: force, DryRun: dryRun, services: named(content.Claims)}
	e.claims = func(d desired.State, _ time.Time) (policy.Edit, error) {
		return d.Replace(api.ReplaceRequest{AllowEmpty: true}, byCLI(content.Claims)) // guarded below
	}
	e.overrides = func(o desired.Overrides, _ time.Time) (edit desired.OverridesEdit, err error) {
		to := overridesOf(content.Suspended, content.Limits)
		for subject := range o.Suspensions {
			if _, stays := to.Suspensions[subject]; !stays {
				edit.Resume = append(edit.Resume, subject)
			}
		}
		for owner := range o.Limits {
			if _, stays := to.Limits[owner]; !stays {
				edit.Unlimit = append(edit.Unlimit, owner)
			}
		}
		for subject, s := range to.Suspensions {
			if before, stood := o.Suspensions[subject]; !stood || before.Reason != s.Reason || before.Nested != s.Nested {
				edit.Suspend = append(edit.Suspend, s)
			}
		}
		for owner, l := range to.Limits {
			if o.Limits[owner] != l {
				edit.Limit = append(edit.Limit, l)
			}
		}
		return edit, nil
	}
	return e
}

// On makes of a list what the command says. It returns nil for what changes nothing and for a dry
// run.
func (e *Edit) On(v fleet.View) (*fleet.Content, error) {
	now := time.Now()
	suspended, limits, claims, err := contentOf(v)
	if err != nil {
		return nil, err
	}
	if e.Was, err = desired.New(servicesOf(append(named(claims), e.services...)), nil, byCLI(claims), now); err != nil {
		return nil, err
	}
	e.Was = e.Was.With(overridesOf(suspended, limits))
	edit, err := e.edit(now)
	if err != nil {
		return nil, err
	}
	e.Lines = edit.Overrides.Lines(e.Was.Overrides)
	slices.Sort(e.Lines)
	if e.After, e.Plan, err = e.Was.Apply(edit, now, 0); err != nil {
		return nil, err
	}
	e.Refused = nil
	if err := e.guard(now); err != nil {
		refused, ok := errors.AsType[*policy.Refused](err)
		if !e.DryRun || !ok {
			return nil, err
		}
		e.Refused = refused
	}
	if e.DryRun || e.Plan.Empty() && len(e.Lines) == 0 {
		return nil, nil
	}
	return e.content(suspended), nil
}

// edit is what the command makes of e.Was. Any service may be named: which of them a host has,
// only the host knows.
func (e *Edit) edit(now time.Time) (edit desired.Edit, err error) {
	if edit.Claims, err = e.claims(e.Was, now); err != nil {
		return edit, err
	}
	if e.overrides != nil {
		edit.Overrides, err = e.overrides(e.Was.Overrides, now)
	}
	return edit, err
}

// guard asks the guard rails, and refuses what no host would take over.
func (e *Edit) guard(now time.Time) error {
	force := e.Force
	force.AllowEmpty = true // of services, of which a host has others
	if err := policy.Guard(e.Was.Policy, e.After.Policy, e.Plan, e.Verb, force, now); err != nil {
		return err
	}
	if !e.Force.AllowEmpty && letsIn(e.Was, now) && !letsIn(e.After, now) {
		return &policy.Refused{What: "no prefix is left that has not ended: nobody could connect to any host", Hint: "--allow-empty"}
	}
	limits := source.EtcdLimits
	limits.Widest4, limits.Widest6 = 0, 0
	var claims []policy.Claim
	for _, entry := range slices.Concat(e.Plan.Added, e.Plan.Changed) {
		claims = append(claims, policy.Claim{Prefix: entry.Prefix})
	}
	return limits.Check("", claims)
}

func letsIn(d desired.State, now time.Time) bool {
	for entry := range d.Policy.Entries.All() {
		if !policy.HasEnded(entry.Until(), now) {
			return true
		}
	}
	return false
}

// content is e.After as it is written. Suspensions that stand keep who made them, and when.
func (e *Edit) content(before []layout.Suspension) *fleet.Content {
	c := &fleet.Content{Claims: slices.Collect(e.After.Made()), Limits: map[string]layout.Limit{}}
	slices.SortFunc(c.Claims, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	c.AllowEmpty = len(c.Claims) == 0
	c.AllowAny = slices.ContainsFunc(c.Claims, func(claim policy.Claim) bool {
		return policy.GuardSubject(claim.Prefix, "") != nil
	})
	for _, s := range e.After.SortedSuspensions() {
		one := layout.Suspension{Subject: s.Subject.String(), Reason: s.Reason, Since: s.Time, Nested: s.Nested}
		if i := slices.IndexFunc(before, func(b layout.Suspension) bool { return b.Subject == one.Subject }); i >= 0 {
			one.By = before[i].By
		}
		c.Suspended = append(c.Suspended, one)
	}
	for owner, l := range e.After.Limits {
		c.Limits[owner] = layout.Limit{PerSecond: l.PerSecond, Burst: l.Burst}
	}
	return c
}

// contentOf unpacks a list; there may be none yet.
func contentOf(v fleet.View) (suspended []layout.Suspension, limits map[string]layout.Limit, claims []policy.Claim, err error) {
	if v.Manifest == nil {
		return nil, nil, nil, nil
	}
	claims, err = v.List.Claims("")
	return v.Manifest.Suspended, v.Manifest.Limits, claims, err
}

func byCLI(claims []policy.Claim) []policy.Claim {
	all := slices.Clone(claims)
	for i := range all {
		all[i].Origin = policy.OriginCLI
	}
	return all
}

func overridesOf(suspended []layout.Suspension, limits map[string]layout.Limit) desired.Overrides {
	o := desired.Overrides{Suspensions: map[policy.Subject]store.Suspension{}, Limits: map[string]store.Limit{}}
	for _, s := range suspended {
		subject, _ := layout.ParseSubject(s.Subject) // a manifest that was read has no other
		o.Suspensions[subject] = store.Suspension{Subject: subject, Reason: s.Reason, Time: s.Since, Nested: s.Nested}
	}
	for owner, l := range limits {
		o.Limits[owner] = store.Limit{Owner: owner, PerSecond: l.PerSecond, Burst: l.Burst}
	}
	return o
}

// named are the services that claims name, some twice.
func named(claims []policy.Claim) (names []string) {
	for i := range claims {
		names = append(names, claims[i].Services...)
	}
	return names
}

// servicesOf are services of these names. Which of them a host has only the host knows, so any may
// be named.
func servicesOf(names []string) (services []policy.Service) {
	slices.Sort(names)
	for i, name := range slices.Compact(names) {
		services = append(services, policy.Service{Name: name, Mode: policy.Audit, Ports: []policy.Port{{Protocol: policy.TCP, Number: uint16(i + 1)}}})
	}
	return services
}
