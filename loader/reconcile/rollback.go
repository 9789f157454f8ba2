package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
	"github.com/xdpallow/xdpallow/loader/undo"
)

// This file takes the last change back.

// Rollback takes the last change back; it can be taken back itself.
func (e *Engine) Rollback(ctx context.Context, by api.Caller, r api.RollbackRequest) (api.Plan, error) {
	if err := e.begin(ctx); err != nil {
		return api.Plan{}, err
	}
	defer e.unlock()
	c, err := e.inverse()
	if err != nil {
		return api.Plan{}, err
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return api.Plan{}, err
	}
	c.assess = assess
	c.by, c.command, c.dryRun, c.peers, c.logins = by, "rollback", r.DryRun, r.Sessions, r.Logins
	c.force = r.Force
	// What waits is taken back anyway, in a moment, and no guard rail is asked then.
	if e.unsettled.pending == nil {
		c.verb = policy.VerbRollback
	}
	old, words := e.view.Policy.Services, c.edit.Overrides.Lines(e.view.Overrides)
	o, err := e.make(c)
	if err != nil {
		return api.Plan{}, err
	}
	if !r.DryRun {
		e.problems.forget("rollback_failed")
		e.options.Log.Info(fmt.Sprintf("rolled back: %d added, %d removed, %d changed: generation %d",
			len(o.plan.Added), len(o.plan.Removed), len(o.plan.Changed), e.view.gate.Tables.Generation()), attributes(by)...)
		e.logServices(old, o.plan)
		e.sayHeld()
	}
	answer := e.planned(o, by.Most)
	answer.Overrides = words
	return answer, nil
}

// inverse is the change that takes the last one back.
func (e *Engine) inverse() (change, error) {
	inverse, found, err := e.disk.LoadUndo()
	if err != nil {
		return change{}, err
	}
	if !found {
		return change{}, &policy.Refused{What: "there is no change to roll back", Hint: "xdpallow list" + e.options.HintFlags}
	}
	c := change{
		settle: true,
		edit: desired.Edit{
			Claims:    policy.Edit{Put: inverse.Put},
			Overrides: desired.OverridesEdit{Resume: inverse.Resume, Suspend: inverse.Suspend, Unlimit: inverse.Unlimit, Limit: inverse.Limit},
		},
	}
	for _, prefix := range inverse.Delete {
		c.edit.Claims.Remove = append(c.edit.Claims.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: prefix})
	}
	services := e.view.Policy.Services
	if inverse.Data != nil {
		if err := e.declaredBefore(&c, inverse.Data); err != nil {
			return c, err
		}
		services = c.edit.Services
	}
	// An entry may come back for a service that is gone meanwhile.
	c.edit.Whole = slices.ContainsFunc(c.edit.Claims.Put, func(claim policy.Claim) bool { return desired.IsOrphan(claim, services) })
	return c, nil
}

// declaredBefore has c bring back what was declared. What this daemon was started with
// stays: a rollback is not a restart.
func (e *Engine) declaredBefore(c *change, text []byte) error {
	var back undo.Back
	if err := json.Unmarshal(text, &back); err != nil {
		return fmt.Errorf("read what takes the last change back: %w", err)
	}
	list, err := e.disk.LoadArchived(back.Kept)
	if err != nil {
		return err
	}
	c.edit.Services, c.edit.Declared = list.Services, list.Declared()
	if len(e.options.Services) > 0 {
		c.edit.Services = e.view.Policy.Services
	}
	delete(c.edit.Declared, policy.OriginFlag)
	if flags, given := e.view.Declared()[policy.OriginFlag]; given {
		c.edit.Declared[policy.OriginFlag] = flags
	}
	c.holds = &back.Held
	c.undo = &undo.Back{Held: e.unsettled.held}
	return nil
}

// undoReload is how a reload is taken back: what it changes in files is held.
func (e *Engine) undoReload(read reading) *undo.Back {
	h := undo.Held{Generation: e.view.gate.Tables.Generation(), Origins: slices.Clone(e.unsettled.held.Origins)}
	hold := func(origin policy.Origin) {
		if isFile(origin) && !slices.Contains(h.Origins, origin) {
			h.Origins = append(h.Origins, origin)
		}
	}
	now := e.view.Declared()
	for origin, claims := range read.declared {
		if !slices.EqualFunc(claims, now[origin], sameClaim) {
			hold(origin)
		}
	}
	for origin := range now {
		if _, stays := read.declared[origin]; !stays {
			hold(origin)
		}
	}
	if read.services != nil && len(e.options.Services) == 0 && !slices.EqualFunc(read.services, e.view.Policy.Services, policy.Service.Equal) {
		hold(policy.OriginConfig)
	}
	slices.Sort(h.Origins)
	return &undo.Back{Held: h}
}

func sameClaim(a, b policy.Claim) bool { return a.Prefix == b.Prefix && policy.SameWords(a, b) }

// holds reports whether a start must not take over what origin says: it was rolled
// back, or may yet be.
func (e *Engine) holds(origin policy.Origin) bool {
	return isFile(origin) && (e.unsettled.pending != nil || slices.Contains(e.unsettled.held.Origins, origin))
}

// withhold puts what is enforced in the place of what the files say that are held.
func (e *Engine) withhold(read *reading) {
	for origin := range read.declared {
		if e.holds(origin) {
			delete(read.declared, origin)
		}
	}
	for origin := range read.failing {
		if e.holds(origin) {
			delete(read.failing, origin)
		}
	}
	for origin, claims := range e.view.Declared() {
		if e.holds(origin) {
			read.declared[origin] = claims
		}
	}
	if e.holds(policy.OriginConfig) && len(e.options.Services) == 0 {
		read.services = nil
	}
}

// heldProblems name the files that are held.
func (e *Engine) heldProblems() []api.Problem {
	var problems []api.Problem
	for _, origin := range e.unsettled.held.Origins {
		problems = append(problems, api.Problem{
			Code: "held", Subject: string(origin),
			Text: fmt.Sprintf("was rolled back: its content of generation %d is enforced, whatever it says now, until it is read again", e.unsettled.held.Generation),
			Hint: "xdpallow reload",
		})
	}
	return problems
}

// sayHeld logs what a rollback holds.
func (e *Engine) sayHeld() {
	if len(e.unsettled.held.Origins) == 0 {
		return
	}
	var names []string
	for _, origin := range e.unsettled.held.Origins {
		names = append(names, string(origin))
	}
	e.say(fmt.Sprintf("held as in generation %d: %s; to take over what is written there now: xdpallow reload%s",
		e.unsettled.held.Generation, strings.Join(names, ", "), e.options.HintFlags))
}

// holdFirst has a restart hold what a change that is to be confirmed is about to take
// over: killed half way, the daemon would read it from the files again, and wait for
// nobody's confirmation.
func (e *Engine) holdFirst(c change) error {
	if c.confirm == 0 || c.undo == nil {
		return nil
	}
	return e.disk.Apply(store.Change{Meta: map[string][]byte{stored.MetaHeld: c.undo.Held.Marshal()}})
}
