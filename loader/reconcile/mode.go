package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/stored"
)

// This file is the break-glass between enforcing and detaching: an audit with an end,
// which the kernel keeps though the daemon be dead. It is laid over what flags and
// files say of a service, and changes nothing of that.

// Mode starts or ends audits that have an end.
func (e *Engine) Mode(ctx context.Context, by api.Caller, r api.ModeRequest) (api.Modes, error) {
	if err := e.begin(ctx); err != nil {
		return api.Modes{}, err
	}
	defer e.unlock()
	next, named, err := e.enforced.State.Mode(r, compile.Boottime(), e.unsettled.bootID, e.options.HowTo)
	if err != nil {
		return api.Modes{}, err
	}
	if _, err := e.make(change{by: by, command: "mode " + string(r.Mode), edit: desired.Edit{Audits: next}}); err != nil {
		return api.Modes{}, err
	}
	answer := e.modes()
	if r.Mode == policy.Audit {
		var end uint64 // all that began now end together
		for _, s := range named {
			end = max(end, next.Until(s))
		}
		answer.Warnings = e.enforced.SuspendedPassing(*e.enforced.Compiler.Clock.At(end))
	}
	for _, s := range answer.Services {
		if !slices.ContainsFunc(named, func(n policy.Service) bool { return n.Name == s.Name }) {
			continue
		}
		line := fmt.Sprintf("%s: %s", s.Name, s.Mode)
		if s.Until != nil {
			line = fmt.Sprintf("%s: audit until %s: nothing is dropped, and then it enforces again", s.Name, s.Until.Format(time.RFC3339))
		}
		e.options.Log.Warn(line, logtext.Caller(by)...)
	}
	e.timers.poke()
	return answer, nil
}

func (e *Engine) modes() api.Modes {
	return api.Modes{Generation: e.enforced.Gate.Tables.Generation(), Services: e.enforced.View().Services()}
}

// endAudits tells the kernel to enforce where an audit is over. It does so by itself:
// this only keeps what it is told simple.
func (e *Engine) endAudits() {
	next, over := e.enforced.Audits.Over(compile.Boottime())
	if len(over) == 0 {
		return
	}
	// In the words of the command that would do it, as a rollback that nobody confirmed has them.
	ended := change{by: self(), command: fmt.Sprintf("mode enforce %s (the audit ended)", strings.Join(over, " ")), edit: desired.Edit{Audits: next}}
	if _, err := e.make(ended); err != nil {
		e.options.Log.Error(fmt.Sprintf("end an audit: %v", err))
		return
	}
	e.say(fmt.Sprintf("%s: the audit is over: enforcing again", strings.Join(over, ", ")))
}

// endOldAudits ends the audits of earlier boots: who reboots a host wants to know what it
// does afterwards.
func (e *Engine) endOldAudits() {
	was, kept := e.enforced.Audits, desired.Audits{}
	for name, a := range was {
		if a.BootID != e.unsettled.bootID || e.unsettled.bootID == "" {
			e.say(name + ": the reboot has ended its audit: it enforces")
			continue
		}
		kept[name] = a
	}
	if e.enforced.Audits = kept; len(kept) < len(was) {
		e.bookkeep(map[string][]byte{stored.MetaAudits: kept.Marshal()})
	}
}
