package main

// This file is `history`: who changed what, when and why? The newest is last, next
// to the prompt, as a shell's history has it.

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/tabular"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

func historyCommand(e env) *cli.Command {
	return e.command("history", "Show who changed what, the newest last", "", append([]cli.Flag{
		&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Value: 20, Usage: "the last `N` changes, 0 is all"},
	}, offlineFlags()...), history)
}

func history(ctx context.Context, c *call) error {
	last := c.flags.Int("number")
	if last < 0 {
		return &policy.InputError{What: fmt.Sprintf("-n %d is no number of changes", last), Hint: "xdpallow history -n 0"}
	}
	h, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.History, error) {
		return from.History(ctx, last)
	})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(h)
	}
	if len(h.Changes) == 0 {
		return c.nothing("no changes")
	}
	return c.printHistory(h)
}

// printHistory prints a row a change, and below it what became of services, suspensions and limits.
func (c *call) printHistory(h api.History) error {
	var rows bytes.Buffer
	if err := fitted(&rows, c.columns, slices.Values(historyRows(h))); err != nil {
		return err
	}
	out := bufio.NewWriter(c.out)
	at := -1 // the first line is the heading
	for line := range strings.Lines(rows.String()) {
		out.WriteString(line)
		if at++; at == 0 {
			continue
		}
		for _, line := range slices.Concat(h.Changes[at-1].Services, h.Changes[at-1].Overrides) {
			fmt.Fprintf(out, "  %s\n", policy.Printable(line))
		}
	}
	return out.Flush() // carries the first error of the writes above
}

// historyRows are a row a change.
func historyRows(h api.History) [][]string {
	// A column for who had logged in, where that says more than the uid.
	logins := slices.ContainsFunc(h.Changes, func(r store.Record) bool { return r.LoginUID != nil && *r.LoginUID != r.UID })
	row := func(login string, cells ...string) []string {
		if logins {
			return slices.Insert(cells, 2, login)
		}
		return cells
	}
	rows := [][]string{row("LOGIN", "TIME", "UID", "GENERATION", "ENTRIES", "COMMAND", "REASON")}
	for _, r := range h.Changes {
		generation := fmt.Sprint(r.After)
		if r.Before != r.After {
			generation = fmt.Sprintf("%d → %d", r.Before, r.After)
		}
		entries := fmt.Sprintf("+%d -%d ~%d", r.AddedCount, r.RemovedCount, r.ChangedCount)
		login := "-"
		if r.LoginUID != nil {
			login = fmt.Sprint(*r.LoginUID)
		}
		rows = append(rows, row(login, moment(&r.Time), fmt.Sprint(r.UID), generation, entries, tabular.Brief(r.Command, roomForCommand), cmp.Or(r.Reason, "-")))
	}
	return rows
}

// roomForCommand is the room for a command line in a table, in characters; JSON has it whole.
const roomForCommand = 80
