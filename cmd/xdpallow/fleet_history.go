package main

// This file shows what became of a fleet's list: serial after serial, and as the difference of two.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/tabular"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/fleet/edits"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

func fleetHistoryCommand(e env) *cli.Command {
	return e.command("fleet history", "Show who changed the list, the newest last", "", fleetFlags(
		&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Value: 20, Usage: "the last `N` changes, 0 is all that are kept"},
	), onFleet(fleetHistory))
}

// fleetRecord is one change in the JSON of fleet history.
type fleetRecord struct {
	Serial  uint64    `json:"serial"`
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	Total   int       `json:"total"`
	Command string    `json:"command"`
	Reason  string    `json:"reason"`
}

func fleetHistory(ctx context.Context, c *fleetCall) error {
	last := c.flags.Int("number")
	if last < 0 {
		return &policy.InputError{What: fmt.Sprintf("-n %d is no number of changes", last), Hint: "xdpallow fleet history -n 0"}
	}
	view, err := c.client.View(ctx, c.list, false)
	if err != nil {
		return err
	}
	manifests, err := c.client.Past(ctx, c.list, last)
	if err != nil {
		return err
	}
	if view.Manifest != nil {
		manifests = slices.Insert(manifests, 0, view.Manifest)
	}
	if last > 0 && len(manifests) > last {
		manifests = manifests[:last]
	}
	slices.Reverse(manifests)
	records := []fleetRecord{}
	rows := [][]string{{"TIME", "SERIAL", "BY", "PREFIXES", "COMMAND", "REASON"}}
	for _, m := range manifests {
		records = append(records, fleetRecord{m.Serial, m.Time, m.By, m.Entries, m.Command, m.Reason})
		rows = append(rows, []string{moment(&m.Time), fmt.Sprint(m.Serial), m.By, fmt.Sprint(m.Entries), tabular.Brief(m.Command, roomForCommand), cmp.Or(m.Reason, "-")})
	}
	switch {
	case c.json:
		return c.printJSON(map[string]any{"fleet": c.fleet, "list": c.list, "changes": records})
	case len(records) == 0:
		return c.nothing("no changes")
	}
	return fitted(c.out, c.columns, slices.Values(rows))
}

func fleetDiffCommand(e env) *cli.Command {
	return e.command("fleet diff", "Show what has changed since a serial, or what waits for confirmation", "[SERIAL]", fleetFlags(
		&cli.BoolFlag{Name: "waiting", Usage: "what waits for confirmation would change"},
	), onFleet(fleetDiff))
}

func fleetDiff(ctx context.Context, c *fleetCall) error {
	var serial uint64
	if c.flags.NArg() > 1 {
		return &policy.InputError{What: "fleet diff takes one serial", Hint: "xdpallow fleet diff " + quote(c.flags.Args().First())}
	}
	if c.flags.NArg() == 1 {
		if _, err := fmt.Sscanf(c.flags.Args().First(), "%d", &serial); err != nil || serial == 0 || c.flags.Bool("waiting") {
			return &policy.InputError{What: fmt.Sprintf("%.64q is no serial to compare with", c.flags.Args().First()), Hint: "xdpallow fleet history"}
		}
	}
	view, err := c.client.View(ctx, c.list, true)
	if err != nil {
		return err
	}
	from, to := view.Manifest, view.Next
	if !c.flags.Bool("waiting") {
		to = view.Manifest
		if from, err = c.earlier(ctx, serial); err != nil {
			return err
		}
	}
	if from == nil || to == nil {
		return &policy.Refused{What: "nothing waits for confirmation", Hint: "xdpallow fleet status"}
	}
	before, err := c.client.Content(ctx, c.list, from, view.List)
	if err != nil {
		return err
	}
	after, err := c.client.Content(ctx, c.list, to, view.List)
	if err != nil {
		return err
	}
	plan, lines := edits.Diff(before, after)
	out := api.Plan{
		Generation: to.Serial, Total: to.Entries, Added: entriesOf(plan.Added), Removed: entriesOf(plan.Removed), Changed: entriesOf(plan.Changed),
		Was: query.Formers(plan.Was), Overrides: lines,
	}
	if c.json {
		return c.printJSON(changed{
			Fleet: c.fleet, List: c.list, Serial: to.Serial, Total: to.Entries, Changed: !plan.Empty() || len(out.Overrides) > 0,
			Added: out.Added, Removed: out.Removed, Edited: out.Changed, Was: out.Was, Overrides: out.Overrides,
		})
	}
	_ = table(c.out, 0, changes([3]string{"+ ", "~ ", "- "}, out))
	for _, line := range out.Overrides {
		fmt.Fprintf(c.out, "~ %s\n", line)
	}
	fmt.Fprintf(c.out, "%d added, %d removed, %d changed: from serial %d to %d\n", len(out.Added), len(out.Removed), len(out.Changed), from.Serial, to.Serial)
	return nil
}
