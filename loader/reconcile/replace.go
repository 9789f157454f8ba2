package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// Replace makes the claims of the CLI those of a list, all or none. What flags and
// files declare stays, and is told.
func (e *Engine) Replace(ctx context.Context, by api.Caller, r api.ReplaceRequest) (api.Plan, error) {
	api.Progress(ctx)("reading " + r.Name)
	claims, warnings, err := policy.ParseList(r.Name, policy.OriginCLI, strings.NewReader(r.Text))
	if err != nil {
		return api.Plan{}, err
	}
	if err := e.begin(ctx); err != nil {
		return api.Plan{}, err
	}
	defer e.unlock()
	plan, err := e.replaced(r, claims, change{by: by, tell: api.Progress(ctx), command: "replace", verb: policy.VerbReplace})
	plan.Warnings = append(warnings, plan.Warnings...)
	return plan, err
}

// replaced makes the claims of the CLI those, and c with it.
func (e *Engine) replaced(r api.ReplaceRequest, claims []policy.Claim, c change) (api.Plan, error) {
	edit, err := e.enforced.State.Replace(r, claims)
	if err != nil {
		return api.Plan{}, err
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return api.Plan{}, err
	}
	confirm, err := window(r.Confirm)
	if err != nil {
		return api.Plan{}, err
	}
	c.dryRun, c.edit.Claims, c.read, c.peers, c.assess, c.confirm = r.DryRun, edit, claims, r.Sessions, assess, confirm
	c.force.AllowEmpty, c.force.AllowAny, c.force.ForceShrink = r.AllowEmpty, r.AllowAny, r.ForceShrink
	words, loosened := c.edit.Overrides.Lines(e.enforced.Overrides), transfer.Loosened(c.edit.Overrides, e.enforced.Overrides)
	o, err := e.make(c)
	if err != nil {
		return api.Plan{}, err
	}
	if !r.DryRun {
		e.options.Log.Info(fmt.Sprintf("%s: %d added, %d removed, %d changed: generation %d",
			map[policy.Verb]string{policy.VerbReplace: "replaced", policy.VerbImport: "imported"}[c.verb],
			len(o.plan.Added), len(o.plan.Removed), len(o.plan.Changed), e.enforced.Gate.Tables.Generation()), logtext.Caller(c.by)...)
		for _, line := range words {
			e.options.Log.Warn("imported: "+line, logtext.Caller(c.by)...)
		}
	}
	out := e.planned(o, c.by.Most)
	out.Overrides, out.Loosens = words, loosened
	if c.by.Most == 0 {
		out.Entries, out.Kept = e.named(claims, o.next), e.kept(claims)
	}
	if !r.DryRun {
		out.Confirm = e.unsettled.waiting()
	}
	return out, nil
}

// named are the entries of state that claims are part of.
func (e *Engine) named(claims []policy.Claim, state policy.State) []api.Entry {
	return e.enforced.View().Entries(standing(claims, state))
}

// kept are the entries that are declared, and not among those named.
func (e *Engine) kept(claims []policy.Claim) []api.Entry {
	named := make(map[netip.Prefix]bool, len(claims))
	for i := range claims {
		named[claims[i].Prefix] = true
	}
	kept := []policy.Entry{}
	for entry := range e.enforced.Policy.Entries.All() {
		if !named[entry.Prefix] && entry.Declared() {
			kept = append(kept, *entry)
		}
	}
	return e.enforced.View().Entries(kept)
}
