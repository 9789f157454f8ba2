package reconcile

import (
	"fmt"
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

// logDetach notes who opened the gate.
func (e *Engine) logDetach(by api.Caller, detached []string) error {
	if len(detached) == 0 {
		return nil
	}
	record := change{by: by, command: "detach"}.logged(policy.Plan{})
	if err := e.disk.Apply(store.Change{Log: record}); err != nil {
		return fmt.Errorf("detached, and not noted in the change log: %w", err)
	}
	return nil
}
