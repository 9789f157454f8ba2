package main

// This file is `reload`, which reads the config and the list files again.

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
)

func reloadCommand(e env) *cli.Command {
	return e.command("reload", "Read the config file and the list files again", "", []cli.Flag{
		dryRunFlag(), confirmFlag(), seenFlag(),
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes, or of those of one file"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		allowOpenFlag(), cutSessionsFlag(),
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
		reasonFlag(),
	}, reload)
}

func reload(ctx context.Context, c *call) error {
	dry := c.flags.Bool("dry-run")
	confirm, err := c.confirmWindow()
	if err != nil {
		return err
	}
	seen, err := c.seen()
	if err != nil {
		return err
	}
	plan, err := control.Reload.Ask(ctx, c.briefly(dry), api.ReloadRequest{
		Force: forced(c.flags), DryRun: dry, Seen: seen, Logins: c.logins(),
		Confirm: confirm, Sessions: c.sessions(),
	})
	if err != nil {
		return err
	}
	return c.printPlan(plan, dry)
}
