package reconcile

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/undo"
)

// Reload reads every declared origin again. One bad line refuses the whole reload.
func (e *Engine) Reload(ctx context.Context, by api.Caller, r api.ReloadRequest) (api.Plan, error) {
	e.files.reading.Lock() // what is read first is taken over first
	defer e.files.reading.Unlock()
	read, err := e.read(ctx)
	if err != nil {
		return api.Plan{}, err
	}
	if err := e.begin(ctx); err != nil {
		return api.Plan{}, err
	}
	defer e.unlock()
	e.took(&read)
	failing := read.failing
	if len(failing) > 0 {
		if !r.DryRun {
			e.files.failing = e.stillFailing(read)
		}
		return api.Plan{}, joined(failing)
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return api.Plan{}, err
	}
	old := e.view.Policy.Services
	confirm, err := window(r.Confirm)
	if err != nil {
		return api.Plan{}, err
	}
	drop := e.dropsBackstop(read, r)
	if drop {
		e.options.Backstop = "off" // the change records it
	}
	o, err := e.make(change{
		by: by, command: "reload", verb: policy.VerbReload, dryRun: r.DryRun, edit: desired.Edit{Services: read.services, Declared: read.declared}, peers: r.Sessions, logins: r.Logins, assess: assess,
		holds: &undo.Held{}, undo: e.undoReload(read), confirm: confirm,
		force: r.Force,
	})
	if err != nil {
		if drop {
			e.options.Backstop = "on"
		}
		return api.Plan{}, err
	}
	if !r.DryRun {
		e.followClock(true) // not before: what is refused changes no deadline either
		e.files.failing, e.files.kept.openings, e.files.kept.leftOut = failing, nil, nil
		e.options.Log.Info(fmt.Sprintf("reloaded: %d added, %d removed, %d changed: generation %d",
			len(o.plan.Added), len(o.plan.Removed), len(o.plan.Changed), e.view.gate.Tables.Generation()), attributes(by)...)
		e.logServices(old, o.plan)
		for _, warning := range read.restart {
			e.options.Log.Warn(warning)
		}
	}
	if err := e.reloadBackstop(read, r, drop); err != nil {
		return api.Plan{}, err
	}
	out := e.planned(o, by.Most)
	if e.wantsNoBackstop(read) {
		read.restart = append(read.restart, e.backstopStays())
	}
	out.Warnings = append(read.restart, out.Warnings...)
	if !r.DryRun {
		out.Confirm = e.unsettled.waiting()
	}
	return out, nil
}

// stillFailing is what fails after a reading that was not taken over: what it met, what
// failed before for another reason than that it could not be read, and files that are
// gone, whose entries are enforced all the same.
func (e *Engine) stillFailing(read reading) map[policy.Origin]error {
	failing := maps.Clone(read.failing)
	for origin, err := range e.files.failing {
		if _, known := failing[origin]; !known && (read.found[origin] || !strings.HasPrefix(string(origin), "file:")) {
			failing[origin] = err
		}
	}
	if failing[policy.OriginConfig] != nil { // which files there are is not known
		return failing
	}
	for origin := range e.view.Declared() {
		if path, isList := strings.CutPrefix(string(origin), "file:"); isList && !read.found[origin] && !fails(read.failing, origin) {
			failing[origin] = &policy.InputError{Where: path, What: "is gone"}
		}
	}
	return failing
}
