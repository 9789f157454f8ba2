package main

// This file is `rollback`, which takes the last change back.

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
)

func rollbackCommand(e env) *cli.Command {
	return e.command("rollback", "Take the last change back; twice is forward again", "", []cli.Flag{
		dryRunFlag(), seenFlag(), reasonFlag(),
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		allowOpenFlag(), cutSessionsFlag(),
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
	}, rollback)
}

func rollback(ctx context.Context, c *call) error {
	dry := c.flags.Bool("dry-run")
	seen, err := c.seen()
	if err != nil {
		return err
	}
	plan, err := control.Rollback.Ask(ctx, c.briefly(dry), api.RollbackRequest{
		Force: forced(c.flags), DryRun: dry, Seen: seen, Logins: c.logins(), Sessions: c.sessions(),
	})
	if err != nil {
		return err
	}
	return c.printPlan(plan, dry)
}
