package reconcile

import (
	"os"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file tells who changed what, when and why.

// self is the daemon as one who makes changes.
func self() api.Caller {
	return api.Caller{UID: uint32(os.Geteuid()), PID: int32(os.Getpid()), LoginUID: impact.OwnLoginUID()}
}

// logged is what the change log says of c, which plan is the effect of.
func (c change) logged(plan policy.Plan) *store.Record {
	return query.RecordOf(c.by, c.command, plan)
}

// flushLog writes to the change log what it misses. The caller holds the mutex.
func (e *Engine) flushLog() {
	e.problems.Forget("change_log")
	if err := e.disk.FlushLog(); err != nil {
		e.problems.Note(problems.Disk("change_log", e.options.State, "changes are made and kept, but their log cannot be written: %v", err))
	}
}

// Record notes in the history a command of by that changed nothing of the list.
func (e *Engine) Record(by api.Caller, command string) error {
	e.mu.Lock()
	defer e.unlock()
	return e.record(by, command, store.Change{})
}

// record notes in the history a command of by, with which done is kept, and which changed nothing of
// the list. The caller holds the mutex.
func (e *Engine) record(by api.Caller, command string, done store.Change) error {
	done.Log = change{by: by, command: command}.logged(policy.Plan{})
	if err := e.disk.Apply(done); err != nil {
		return err
	}
	done.Log.After = e.disk.lastGeneration()
	e.disk.last = query.ChangeOf(*done.Log)
	return nil
}
