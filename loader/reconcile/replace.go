package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Replace makes the claims of the CLI those of a list, all or none. What flags and
// files declare stays, and is told.
func (e *Engine) Replace(ctx context.Context, by Caller, r ReplaceRequest) (Plan, error) {
	if err := e.begin(ctx); err != nil {
		return Plan{}, err
	}
	defer e.mu.Unlock()
	claims, _, err := policy.ParseList(r.Name, policy.OriginCLI, strings.NewReader(r.Text))
	if err != nil {
		return Plan{}, err
	}
	return e.replaced(r, claims, change{by: by, command: "replace", verb: policy.VerbReplace})
}

// replaced makes the claims of the CLI those, and c with it.
func (e *Engine) replaced(r ReplaceRequest, claims []policy.Claim, c change) (Plan, error) {
	known := slices.DeleteFunc(slices.Clone(claims), func(claim policy.Claim) bool {
		orphan, found := e.view.Orphans()[claim.Prefix] // for a service that is gone, and it stays so
		return found && policy.SameWords(orphan, claim)
	})
	if err := policy.CheckServices(known, e.view.Policy.Services); err != nil {
		return Plan{}, err
	}
	if err := e.emptied(r, claims); err != nil {
		return Plan{}, err
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return Plan{}, err
	}
	confirm, err := e.window(r.Confirm)
	if err != nil {
		return Plan{}, err
	}
	places := map[netip.Prefix]string{}
	for i := range claims { // kept for messages only: nobody can look the line up tomorrow
		places[claims[i].Prefix], claims[i].Where = claims[i].Where, ""
	}
	c.dryRun, c.edit.Claims, c.places, c.peers, c.assess, c.confirm = r.DryRun, e.replacing(claims, places), places, r.Sessions, assess, confirm
	c.force.AllowEmpty, c.force.AllowAny, c.force.ForceShrink = r.AllowEmpty, r.AllowAny, r.ForceShrink
	words, loosened := c.edit.Overrides.Lines(e.view.Overrides), c.edit.Overrides.Loosened(e.view.Overrides)
	o, err := e.make(c)
	if err != nil {
		return Plan{}, err
	}
	if !r.DryRun {
		e.options.Log.Info(fmt.Sprintf("%s: %d added, %d removed, %d changed: generation %d",
			map[policy.Verb]string{policy.VerbReplace: "replaced", policy.VerbImport: "imported"}[c.verb],
			len(o.plan.Added), len(o.plan.Removed), len(o.plan.Changed), e.view.gate.Tables.Generation()), attributes(c.by)...)
		for _, line := range words {
			e.options.Log.Warn("imported: "+line, attributes(c.by)...)
		}
	}
	out := e.planned(o)
	out.Overrides, out.Loosens = words, loosened
	if out.Entries, out.Kept = e.named(claims, o.next), e.kept(places); !r.DryRun {
		out.Confirm = e.waiting()
	}
	return out, nil
}

// emptied refuses a list without a prefix: what should have written it has failed far
// more often than nobody was meant.
func (e *Engine) emptied(r ReplaceRequest, claims []policy.Claim) error {
	enforced := slices.ContainsFunc(e.view.Policy.Services, func(s policy.Service) bool { return s.Mode == policy.Enforce })
	if len(claims) > 0 || r.AllowEmpty || e.view.Counts.Made == 0 || !enforced {
		return nil
	}
	return &policy.Refused{
		What: fmt.Sprintf("%s: no prefix in it, and %s would be removed", r.Name, policy.Count(e.view.Counts.Made, "prefix", "prefixes")),
		Hint: "--allow-empty",
	}
}

// replacing is the edit that leaves the CLI with claims, whose prefixes are named.
func (e *Engine) replacing(claims []policy.Claim, named map[netip.Prefix]string) policy.Edit {
	edit, made := policy.Edit{}, make(map[netip.Prefix]policy.Claim, e.view.Counts.Made)
	for old := range e.view.Made() {
		made[old.Prefix] = *old
		if _, stays := named[old.Prefix]; !stays {
			edit.Remove = append(edit.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: old.Prefix})
		}
	}
	for _, claim := range claims {
		if old, found := made[claim.Prefix]; !found || !policy.SameWords(old, claim) {
			edit.Put = append(edit.Put, claim)
		}
	}
	return edit
}

// named are the entries of state that claims are part of.
func (e *Engine) named(claims []policy.Claim, state policy.State) []Entry {
	return e.view.query().Entries(standing(claims, state))
}

// kept are the entries that are declared, and not among those named.
func (e *Engine) kept(named map[netip.Prefix]string) []Entry {
	kept := []policy.Entry{}
	for entry := range e.view.Policy.Entries.All() {
		_, found := named[entry.Prefix]
		if !found && slices.ContainsFunc(entry.Claims, func(c policy.Claim) bool { return c.Origin != policy.OriginCLI }) {
			kept = append(kept, *entry)
		}
	}
	return e.view.query().Entries(kept)
}
