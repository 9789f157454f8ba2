package query

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file tells what was changed.

// History is the last records of kept, the newest at the end; all when last is 0.
func History(kept *store.Store, last int) (api.History, error) {
	h := api.History{Changes: []store.Record{}}
	for record, err := range kept.Changes(store.NewestFirst) {
		if err != nil {
			return h, fmt.Errorf("read the change log: %w", err)
		}
		if h.Changes = append(h.Changes, record); len(h.Changes) == last {
			break
		}
	}
	slices.Reverse(h.Changes)
	return h, nil
}

// RecordOf is what the history says of a command: who gave it, and what plan says that it did.
func RecordOf(by api.Caller, command string, plan policy.Plan) *store.Record {
	return &store.Record{
		Time: time.Now().UTC().Truncate(time.Second), UID: by.UID, PID: by.PID, LoginUID: by.LoginUID,
		Command: cmp.Or(by.Command, command), Reason: by.Reason,
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
			Prefix: e.Prefix, Owner: e.Owner(), Services: e.Services(), Until: e.Until(), Note: e.Note(),
		}))
	}
	return lines
}
