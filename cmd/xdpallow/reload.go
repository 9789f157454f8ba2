package main

// This file is `reload`: read the config and the list files again.

import (
	"context"
	"iter"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

func reloadCommand(e env) *cli.Command {
	return e.command("reload", "Read the config file and the list files again", "", []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Usage: "show what would change and change nothing"},
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
		reasonFlag(),
	}, reload)
}

func reload(ctx context.Context, c *call) error {
	dry := c.flags.Bool("dry-run")
	plan, err := c.client().Reload(ctx, c.self(), reconcile.ReloadRequest{
		DryRun:      dry,
		ForceShrink: c.flags.Bool("force-shrink"),
		AllowEmpty:  c.flags.Bool("allow-empty"),
		AllowAny:    c.flags.Bool("allow-any"),
		Sessions:    c.sessions(),
	})
	if err != nil {
		return err
	}
	return c.printPlan(plan, dry)
}

// printPlan prints a line a prefix that changes, then where that leads.
func (c *call) printPlan(plan reconcile.Plan, dry bool) error {
	for _, warning := range plan.Warnings {
		c.note("warning: %s", warning)
	}
	if c.json {
		return c.printJSON(plan)
	}
	verbs, suffix := [3]string{"added", "changed", "removed"}, ""
	if dry {
		verbs, suffix = [3]string{"would add", "would change", "would remove"}, " (dry run: nothing was changed)"
	}
	var rows iter.Seq[[]string] = func(yield func([]string) bool) {
		for i, entries := range [][]reconcile.Entry{plan.Added, plan.Changed, plan.Removed} {
			slices.SortStableFunc(entries, func(a, b reconcile.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
			for _, e := range entries {
				if !yield([]string{verbs[i] + " " + e.Prefix.String(), e.Owner}) {
					return
				}
			}
		}
	}
	if err := table(c.out, 0, rows); err != nil {
		return err
	}
	return c.printGeneration(plan.Generation, plan.Total, suffix)
}
