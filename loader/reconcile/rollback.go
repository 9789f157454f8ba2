package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
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
	c.tell = api.Progress(ctx)
	c.by, c.command, c.dryRun, c.peers, c.logins = by, "rollback", r.DryRun, r.Sessions, r.Logins
	c.force = r.Force
	// What waits is taken back anyway, in a moment, and no guard rail is asked then.
	if e.unsettled.pending == nil {
		c.verb = policy.VerbRollback
	}
	old, words := e.enforced.Policy.Services, c.edit.Overrides.Lines(e.enforced.Overrides)
	o, err := e.make(c)
	if err != nil {
		return api.Plan{}, err
	}
	if !r.DryRun {
		e.problems.Forget("rollback_failed")
		e.followBefore(c)
		e.options.Log.Info(fmt.Sprintf("rolled back: %d added, %d removed, %d changed: generation %d",
			len(o.Plan.Added), len(o.Plan.Removed), len(o.Plan.Changed), e.enforced.Gate.Tables.Generation()), logtext.Caller(by)...)
		e.logServices(old, o.Plan)
		e.sayHeld()
	}
	answer := o.Report(e.enforced.View(), by.Most)
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
	c := change{settle: true, edit: undo.Edit(inverse)}
	services := e.enforced.Policy.Services
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
	list, err := e.disk.LoadArchived(back.Kept, back.Archived()...)
	if err != nil {
		return err
	}
	c.edit.Services, c.edit.Declared = list.Services, list.Declared()
	if len(e.options.Services) > 0 {
		c.edit.Services = e.enforced.Policy.Services
	}
	delete(c.edit.Declared, policy.OriginFlag)
	if flags, given := e.enforced.Declared()[policy.OriginFlag]; given {
		c.edit.Declared[policy.OriginFlag] = flags
	}
	c.holds = &back.Held
	if c.names = back.Followed; c.names != nil {
		c.follow, c.forget = back.Lists(list, e.files.followed.origins)
		unsaid := e.enforced.Unsay(c.forget)
		edits := []policy.Edit{c.edit.Claims, unsaid.Claims}
		for _, read := range c.follow {
			edits = append(edits, e.enforced.Follow(read.Origin, read.Put))
			unsaid.Fleets[read.Origin] = desired.OverridesEdit{Suspend: read.State.Suspended, Limit: read.State.Limits}
		}
		c.edit.Claims, c.edit.Fleets = undo.Join(edits), unsaid.Fleets
	}
	c.undo = e.back(e.unsettled.held, c.names, c.forget)
	return nil
}

// back is how a change is taken back that forgets origins and after which others are followed; held is
// what is held then.
func (e *Engine) back(held undo.Held, names []source.Settings, forget []policy.Origin) *undo.Back {
	settings := e.files.followed.settings
	origins := e.files.followed.origins.Before(settings, names, forget)
	for origin, state := range origins {
		if state != nil {
			*state = e.enforced.Keep(origin, *state)
		}
	}
	return &undo.Back{Held: held, Followed: settings, Origins: origins}
}

// sayHeld logs what a rollback holds.
func (e *Engine) sayHeld() {
	if text := e.unsettled.held.String(); text != "" {
		e.say(text + e.options.HintFlags)
	}
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
