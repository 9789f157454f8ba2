package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file collects what an operator should mend, and says whether the gate enforces
// all the same.

// problems are what the operator should mend.
type problems struct {
	noted    map[string]api.Problem // by code: those that no probe finds
	found    []api.Problem          // all, as of the last probe
	torn     error                  // of the effective list, at start
	troubles []store.Trouble        // what was found wrong with the files of the state, and put right
}

// note makes p a problem until forget is called with its code.
func (p *problems) note(one api.Problem) { p.noted[one.Code] = one }

func (p *problems) forget(code string) { delete(p.noted, code) }

// host asks for what the host has beside the gate, which can be much: the caller does not
// hold the mutex.
func (e *Engine) host() repair.Host {
	return repair.ReadHost(e.current.Load().Policy.Services)
}

// observe asks the kernel how the gate is guarded.
func (e *Engine) observe(h repair.Host) repair.Observation {
	return e.interfaces.Checker.Observe(h, e.enforced.Want())
}

// probe collects every problem that there is by what was observed.
func (e *Engine) probe(o repair.Observation) {
	e.keepState()
	e.flushLog()
	problems := repair.Problems(repair.Diagnose(o, e.enforced.Want()))
	if err := e.enforced.Gate.NoteBackstop(); err != nil {
		problems = append(problems, api.Problem{
			Code: "backstop", Subject: "backstop", Hint: "systemctl restart xdpallow",
			Text: fmt.Sprintf("the programs could not be told whether it is attached: %v", err),
		})
	}
	for i := range problems {
		switch p := &problems[i]; {
		case p.Code == "audit" && !strings.HasPrefix(p.Hint, "xdpallow "):
			p.Hint = e.howTo(policy.Enforce)
		case p.Code == "udp_unguarded" && p.Subject != "":
			p.Hint = e.howToGuard(p.Subject)
		}
	}
	problems = append(problems, e.interfaces.Problems()...)
	for _, p := range e.problems.noted {
		problems = append(problems, p)
	}
	for origin, err := range e.files.failing {
		problems = append(problems, api.Problem{
			Code: "origin_failing", Subject: string(origin),
			Text: fmt.Sprintf("not taken over, what it said last is enforced: %v", err),
			Hint: "xdpallow reload --dry-run",
		})
	}
	problems = append(problems, e.unsettled.held.Problems()...)
	if kept := e.files.kept.String(); kept != "" {
		problems = append(problems, api.Problem{
			Code: "kept_shut", Subject: e.options.Config,
			Text: fmt.Sprintf("it says less than is enforced, and no start opens what is shut: %s", kept),
			Hint: "xdpallow reload --allow-open",
		})
	}
	if n := len(e.enforced.Orphans()); n > 0 {
		problems = append(problems, api.Problem{
			Code: "service_missing", Subject: string(policy.OriginCLI),
			Text: policy.Count(n, "entry is", "entries are") + " for a service that does not exist, and not enforced", Hint: "xdpallow list",
		})
	}
	problems = append(problems, e.interfaces.Checker.Problems(o.Time)...)
	problems = append(problems, e.followProblems()...)
	problems = append(problems, e.stateProblems()...)
	if e.problems.torn != nil {
		problems = append(problems, api.Problem{Code: "state_torn", Subject: e.options.State, Text: e.problems.torn.Error(), Hint: "xdpallow list"})
	}
	for i, p := range problems {
		if strings.HasPrefix(p.Hint, "xdpallow ") && !strings.Contains(p.Hint, ";") {
			problems[i].Hint += e.options.HintFlags
		}
	}
	slices.SortFunc(problems, repair.Compare)
	e.problems.found = slices.Compact(problems)
}

// Note makes p a problem until Forget is called with its code: of a part of the daemon
// that the engine does not know.
func (e *Engine) Note(p api.Problem) {
	e.mu.Lock()
	defer e.unlock()
	e.problems.note(p)
}

// Forget ends the problem that Note made.
func (e *Engine) Forget(code string) {
	e.mu.Lock()
	defer e.unlock()
	e.problems.forget(code)
}

// howToGuard says how a port is added to the service that has its number for TCP.
func (e *Engine) howToGuard(subject string) string {
	udp, err := policy.ParsePort(subject)
	service, found := e.enforced.Policy.ServiceOf(policy.Port{Protocol: policy.TCP, Number: udp.Number})
	if err != nil || !found || len(e.options.Services) != 0 {
		return "restart with --port " + subject
	}
	return fmt.Sprintf("add %s to the ports of service %s in %s, then: xdpallow reload", subject, service.Name, e.options.Config)
}
