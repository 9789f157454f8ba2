package reconcile

import (
	"fmt"
	"os"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file looks for problems, and keeps those that are met between two looks.

// mendable is what the operator should mend.
type mendable struct {
	problems.Noted
	found    []api.Problem   // all, as of the last probe
	torn     error           // of the effective list, at start
	troubles []store.Trouble // what was found wrong with the files of the state, and put right
}

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
	found := repair.Problems(repair.Diagnose(o, e.enforced.Want()))
	if err := e.enforced.Gate.NoteBackstop(); err != nil {
		found = append(found, api.Problem{
			Code: "backstop", Subject: "backstop", Hint: "systemctl restart xdpallow",
			Text: fmt.Sprintf("the programs could not be told whether it is attached: %v", err),
		})
	}
	state := problems.OfState(e.options.State, store.Others(e.options.State), os.Geteuid(), e.problems.troubles, e.problems.torn)
	e.problems.found = problems.Facts{
		Sources: e.options.Sources, HintFlags: e.options.HintFlags,
		State: e.enforced.State, Now: e.enforced.Now(),
		Found: slices.Concat(found, e.interfaces.Problems(), e.interfaces.Checker.Problems(o.Time), state), Noted: e.problems.Noted,
		Failing: e.files.failing, Kept: e.files.kept, Held: e.unsettled.held, Followed: e.files.followed.origins,
	}.All()
}

// Note makes p a problem until Forget is called with its code: of a part of the daemon
// that the engine does not know.
func (e *Engine) Note(p api.Problem) {
	e.mu.Lock()
	defer e.unlock()
	e.problems.Note(p)
}

// Forget ends the problem that Note made.
func (e *Engine) Forget(code string) {
	e.mu.Lock()
	defer e.unlock()
	e.problems.Forget(code)
}
