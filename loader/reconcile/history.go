package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
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
	return &store.Record{
		Time: time.Now().UTC().Truncate(time.Second), UID: c.by.UID, PID: c.by.PID, LoginUID: c.by.LoginUID,
		Command: cmp.Or(c.by.Command, c.command), Reason: c.by.Reason,
		Added: listed(plan.Added), AddedCount: len(plan.Added),
		Removed: listed(plan.Removed), RemovedCount: len(plan.Removed),
		Changed: listed(plan.Changed), ChangedCount: len(plan.Changed),
		Services: serviceLines(plan),
	}
}

// serviceLines are what plan does to services, and what it opens.
func serviceLines(plan policy.Plan) []string {
	var lines []string
	for _, c := range plan.Services {
		lines = append(lines, c.Sign()+" "+c.String())
	}
	for _, text := range policy.OpeningTexts(plan.Opens) {
		lines = append(lines, "! "+text)
	}
	return lines
}

// listed is as many entries as the change log has room for, as lines of a list.
func listed(entries []policy.Entry) []string {
	lines := []string{}
	for _, e := range entries[:min(len(entries), store.MaxListed)] {
		lines = append(lines, policy.FormatLine(policy.Claim{
			Prefix: e.Prefix, Owner: e.Owner, Services: e.Services, Until: e.Until, Note: e.Note,
		}))
	}
	return lines
}

// flushLog writes to the change log what it misses. The caller holds the mutex.
func (e *Engine) flushLog() {
	e.problems.forget("change_log")
	if err := e.disk.FlushLog(); err != nil {
		e.problems.note(api.Problem{
			Code: "change_log", Subject: e.options.State,
			Text: fmt.Sprintf("changes are made and kept, but their log cannot be written: %v", err), Hint: "df " + e.options.State,
		})
	}
}

// History implements the question. It waits for no change: it reads what is on disk.
func (e *Engine) History(_ context.Context, last int) (api.History, error) {
	return query.History(e.disk.Store, last)
}

// History implements the question. It needs no pins: what was done is worth knowing
// when the gate is open, too.
func (o Offline) History(_ context.Context, last int) (api.History, error) {
	kept, err := store.OpenReadOnly(o.state)
	if err != nil {
		return api.History{}, err
	}
	defer kept.Close()
	h, err := query.History(kept, last)
	if err != nil || len(h.Changes) > 0 {
		return h, err
	}
	gate, err := loader.OpenReader(o.root) // nothing was ever done here, or this is not the place
	if err == nil {
		err = gate.Close()
	}
	return h, err
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

// logDetach notes who opened the gate, where there is a state to note it in.
func (o Offline) logDetach(by api.Caller, detached []string) error {
	if _, err := os.Stat(o.state); errors.Is(err, os.ErrNotExist) || len(detached) == 0 {
		return nil
	}
	kept, err := store.Open(o.state)
	if err != nil {
		return fmt.Errorf("detached, and not noted in the change log: %w", err)
	}
	return errors.Join(kept.Apply(store.Change{Log: change{by: by, command: "detach"}.logged(policy.Plan{})}), kept.Close())
}

// attributes are what the log says of a caller beside what he did.
func attributes(by api.Caller) []any {
	who := []any{"uid", by.UID, "pid", by.PID}
	if by.LoginUID != nil && *by.LoginUID != by.UID {
		who = append(who, "login", *by.LoginUID)
	}
	return who
}
