package reconcile

import (
	"context"
	"fmt"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/undo"
)

// Reload reads every declared origin again. One bad line refuses the whole reload.
func (e *Engine) Reload(ctx context.Context, by api.Caller, r api.ReloadRequest) (api.Plan, error) {
	e.files.reading.Lock() // what is read first is taken over first
	defer e.files.reading.Unlock()
	api.Progress(ctx)("reading files")
	read, err := e.options.Read(ctx)
	if err != nil {
		return api.Plan{}, err
	}
	if err := e.begin(ctx); err != nil {
		return api.Plan{}, err
	}
	defer e.unlock()
	e.files.began(read)
	if len(read.Failing) > 0 {
		if !r.DryRun {
			e.files.failing = read.StillFailing(e.files.failing, e.enforced.Declared())
		}
		return api.Plan{}, read.Failing.Err()
	}
	var warnings []string
	if e.files.settings != nil {
		warnings = e.options.Restart(read, *e.files.settings)
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return api.Plan{}, err
	}
	old := e.enforced.Policy.Services
	confirm, err := window(r.Confirm)
	if err != nil {
		return api.Plan{}, err
	}
	drop := e.dropsBackstop(read, r)
	if drop {
		e.options.Backstop = "off" // the change records it
	}
	gone := e.files.followed.origins.Unnamed(read.Origins)
	if confirm > 0 { // a rollback would not bring their lists back
		gone = nil
	}
	edit := e.enforced.Unsay(gone)
	edit.Services, edit.Declared = read.Services, read.Claims
	o, err := e.make(change{
		by: by, tell: api.Progress(ctx), command: "reload", verb: policy.VerbReload, dryRun: r.DryRun, edit: edit, forget: gone, names: read.Origins, peers: r.Sessions, logins: r.Logins, assess: assess,
		holds: &undo.Held{}, undo: e.back(undo.Reload{
			Held: e.unsettled.held, Generation: e.enforced.Gate.Tables.Generation(), Was: e.enforced.Declared(), Now: read.Claims,
			Services: len(e.options.Services) == 0 && read.Services != nil && !slices.EqualFunc(read.Services, old, policy.Service.Equal),
			Followed: !follow.Same(e.files.followed.settings, read.Origins) || len(gone) > 0,
		}.Holds(), read.Origins, gone), confirm: confirm,
		force: r.Force,
	})
	if err != nil {
		if drop {
			e.options.Backstop = "on"
		}
		return api.Plan{}, err
	}
	if r.DryRun {
		for _, origin := range gone {
			warnings = append(warnings, fmt.Sprintf("%s is no longer named: its list would be forgotten", origin))
		}
	}
	if !r.DryRun {
		e.forgot(gone)
		e.followNamed(read.Origins, r.Force)
		e.followClock(true) // not before: what is refused changes no deadline either
		e.files.failing, e.files.kept.Openings, e.files.kept.LeftOut, e.files.probe = nil, nil, nil, read.Probe
		e.options.Log.Info(fmt.Sprintf("reloaded: %d added, %d removed, %d changed: generation %d",
			len(o.Plan.Added), len(o.Plan.Removed), len(o.Plan.Changed), e.enforced.Gate.Tables.Generation()), logtext.Caller(by)...)
		e.logServices(old, o.Plan)
		for _, warning := range warnings {
			e.options.Log.Warn(warning)
		}
	}
	if err := e.reloadBackstop(read, r, drop); err != nil {
		return api.Plan{}, err
	}
	out := o.Report(e.enforced.View(), by.Most)
	if e.options.EndsBackstop(read) {
		warnings = append(warnings, e.backstopStays())
	}
	out.Warnings = append(warnings, out.Warnings...)
	if !r.DryRun {
		out.Confirm = e.unsettled.waiting()
	}
	return out, nil
}
