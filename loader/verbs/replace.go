package verbs

import (
	"context"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// Replace makes the claims of the CLI those of a list, all or none. What flags and
// files declare stays, and is told.
func (e *Engine) Replace(ctx context.Context, by api.Caller, r api.ReplaceRequest) (plan api.Plan, err error) {
	api.Progress(ctx)("reading " + r.Name)
	claims, warnings, err := policy.ParseSorted(r.Name, policy.OriginCLI, strings.NewReader(r.Text))
	if err != nil {
		return api.Plan{}, err
	}
	again := func() []policy.Claim {
		claims, _, _ := policy.ParseSorted(r.Name, policy.OriginCLI, strings.NewReader(r.Text))
		return claims
	}
	err = e.Do(ctx, by, func(t reconcile.Turn) (err error) {
		plan, err = e.replace(t, r, claims, reconcile.Change{Command: "replace", Verb: policy.VerbReplace, Read: again}, "replaced")
		return err
	})
	plan.Warnings = append(warnings, plan.Warnings...)
	return plan, err
}

// replace replaces the CLI's claims with claims, in change c. done is the verb for the log.
func (e *Engine) replace(t reconcile.Turn, r api.ReplaceRequest, claims []policy.Claim, c reconcile.Change, done string) (api.Plan, error) {
	before := t.View().State
	edit, err := before.Replace(r, claims)
	if err != nil {
		return api.Plan{}, err
	}
	c.DryRun, c.Edit.Claims, c.Sessions, c.Assess, c.Seen, c.Confirm = r.DryRun, edit, r.Sessions, true, r.Seen, r.Confirm
	c.Force.AllowEmpty, c.Force.AllowAny, c.Force.ForceShrink = r.AllowEmpty, r.AllowAny, r.ForceShrink
	o, err := t.Make(c)
	if err != nil {
		return api.Plan{}, err
	}
	plan := o.Report(t.View(), t.By.Most)
	plan.Overrides, plan.Loosens = c.Edit.Overrides.Lines(before.Overrides), transfer.Loosened(c.Edit.Overrides, before.Overrides)
	if t.By.Most == 0 {
		plan.Entries, plan.Kept = t.View().Entries(standing(claims, o.Next)), t.View().Entries(kept(t.View().Policy, claims))
	}
	if r.DryRun {
		return plan, nil
	}
	e.changed(t, "%s: %d added, %d removed, %d changed", done, len(o.Plan.Added), len(o.Plan.Removed), len(o.Plan.Changed))
	for _, line := range plan.Overrides {
		e.log.Warn(done+": "+line, logtext.Caller(t.By)...)
	}
	plan.Confirm = t.Waiting()
	return plan, nil
}

// kept are the entries of state that are declared, and not among those that claims, sorted, name.
func kept(state policy.State, claims []policy.Claim) []policy.Entry {
	kept := []policy.Entry{}
	for entry := range state.Entries.All() {
		for len(claims) > 0 && policy.ComparePrefix(claims[0].Prefix, entry.Prefix) < 0 {
			claims = claims[1:]
		}
		if (len(claims) == 0 || claims[0].Prefix != entry.Prefix) && entry.Declared() {
			kept = append(kept, *entry)
		}
	}
	return kept
}
