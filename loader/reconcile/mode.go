package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file is the break-glass between enforcing and detaching: an audit with an end,
// which the kernel keeps though the daemon be dead. It is laid over what flags and
// files say of a service, and changes nothing of that.

// longestAudit bounds --for: what lasts longer is meant to stay.
const longestAudit = 7 * 24 * time.Hour

// Mode starts or ends audits that have an end.
func (e *Engine) Mode(ctx context.Context, by Caller, r ModeRequest) (Modes, error) {
	if err := e.begin(ctx); err != nil {
		return Modes{}, err
	}
	defer e.mu.Unlock()
	named, err := e.servicesNamed(r.Services)
	if err != nil {
		return Modes{}, err
	}
	next := maps.Clone(e.view.Audits)
	if next == nil {
		next = desired.Audits{}
	}
	switch r.Mode {
	case policy.Audit:
		err = e.startAudits(next, named, r)
	case policy.Enforce:
		err = e.stopAudits(next, named)
	default:
		err = &policy.InputError{What: fmt.Sprintf("mode %q is not enforce or audit", r.Mode), Hint: "xdpallow mode enforce"}
	}
	if err != nil {
		return Modes{}, err
	}
	if _, err := e.make(change{by: by, command: "mode " + string(r.Mode), edit: desired.Edit{Audits: next}}); err != nil {
		return Modes{}, err
	}
	answer := e.modes()
	if r.Mode == policy.Audit {
		var end uint64 // all that began now end together
		for _, s := range named {
			end = max(end, next.Until(s))
		}
		answer.Warnings = e.view.SuspendedPassing(*e.view.compiler.Clock.At(end))
	}
	for _, s := range answer.Services {
		if !slices.ContainsFunc(named, func(n policy.Service) bool { return n.Name == s.Name }) {
			continue
		}
		line := fmt.Sprintf("%s: %s", s.Name, s.Mode)
		if s.Until != nil {
			line = fmt.Sprintf("%s: audit until %s: nothing is dropped, and then it enforces again", s.Name, s.Until.Format(time.RFC3339))
		}
		e.options.Log.Warn(line, attributes(by)...)
	}
	e.poke()
	return answer, nil
}

func (e *Engine) modes() Modes {
	return Modes{Generation: e.view.gate.Tables.Generation(), Services: e.view.query().Services()}
}

// servicesNamed returns the services of these names, all when there is none.
func (e *Engine) servicesNamed(names []string) ([]policy.Service, error) {
	if len(names) == 0 {
		return e.view.Policy.Services, nil
	}
	var named []policy.Service
	for _, name := range names {
		at := slices.IndexFunc(e.view.Policy.Services, func(s policy.Service) bool { return s.Name == name })
		if at < 0 {
			return nil, &policy.InputError{What: policy.NoService(name, e.view.Policy.Services), Hint: "xdpallow mode"}
		}
		named = append(named, e.view.Policy.Services[at])
	}
	return named, nil
}

func (e *Engine) startAudits(next desired.Audits, named []policy.Service, r ModeRequest) error {
	lasts, err := policy.ParseDuration(r.For)
	if err != nil {
		return err
	}
	if lasts > longestAudit {
		return &policy.InputError{What: fmt.Sprintf("--for %s is too long: an audit lasts at most %s", r.For, policy.FormatDuration(longestAudit)), Hint: e.howTo(policy.Audit)}
	}
	end, any := uint64(compile.Boottime()+lasts), false
	for _, s := range named {
		if s.Mode == policy.Audit {
			if len(r.Services) > 0 {
				return &policy.Refused{What: fmt.Sprintf("service %s is in audit already, and without an end", s.Name), Hint: "xdpallow mode"}
			}
			continue
		}
		next[s.Name], any = desired.AuditEnd{Boottime: end, BootID: e.bootID}, true
	}
	if !any {
		return &policy.Refused{What: "every service is in audit already, and without an end", Hint: "xdpallow mode"}
	}
	return nil
}

// stopAudits ends audits that have an end. One that has none is not ours to end: the
// next start would bring it back.
func (e *Engine) stopAudits(next desired.Audits, named []policy.Service) error {
	for _, s := range named {
		if s.Mode == policy.Audit {
			return &policy.Refused{What: fmt.Sprintf("service %s is in audit by what run was given", s.Name), Hint: e.howTo(policy.Enforce)}
		}
		delete(next, s.Name)
	}
	return nil
}

// howTo says how a mode is set for good.
func (e *Engine) howTo(mode policy.Mode) string {
	switch {
	case len(e.options.Services) == 0:
		return fmt.Sprintf("set mode: %s in %s, then: xdpallow reload", mode, e.options.Config)
	case mode == policy.Enforce:
		return "restart without --mode audit"
	}
	return "restart with --mode audit"
}

// endAudits tells the kernel to enforce where an audit is over. It does so by itself:
// this only keeps what it is told simple.
func (e *Engine) endAudits() {
	next := maps.Clone(e.view.Audits)
	maps.DeleteFunc(next, func(_ string, a desired.AuditEnd) bool { return a.Boottime <= uint64(compile.Boottime()) })
	if len(next) == len(e.view.Audits) {
		return
	}
	var over []string
	for name := range e.view.Audits {
		if _, on := next[name]; !on {
			over = append(over, name)
		}
	}
	slices.Sort(over)
	// In the words of the command that would do it, as a rollback that nobody confirmed has them.
	ended := change{by: self(), command: fmt.Sprintf("mode enforce %s (the audit ended)", strings.Join(over, " ")), edit: desired.Edit{Audits: next}}
	if _, err := e.make(ended); err != nil {
		e.options.Log.Error(fmt.Sprintf("end an audit: %v", err))
		return
	}
	e.say(fmt.Sprintf("%s: the audit is over: enforcing again", strings.Join(over, ", ")))
}

// recallAudits brings back the audits of this boot. A reboot ends all others: who
// reboots a host wants to know what it does afterwards.
func (e *Engine) recallAudits() error {
	was, kept := desired.Audits{}, desired.Audits{}
	if err := e.recall(metaAudits, &was); err != nil {
		return err
	}
	for name, a := range was {
		if a.BootID != e.bootID || e.bootID == "" {
			e.say(name + ": the reboot has ended its audit: it enforces")
			continue
		}
		kept[name] = a
	}
	if e.view.Audits = kept; len(kept) == len(was) {
		return nil
	}
	e.bookkeep(map[string][]byte{metaAudits: kept.Marshal()})
	return nil
}
