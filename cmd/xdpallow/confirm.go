package main

// This file is `confirm`, which keeps a change that would be rolled back.

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func confirmCommand(e env) *cli.Command {
	return e.command("confirm", "Keep the change that waits for a confirmation", "", nil, confirm)
}

func confirm(ctx context.Context, c *call) error {
	kept, err := control.Confirm.Ask(ctx, c.client(), api.ConfirmRequest{})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(kept)
	}
	_, err = fmt.Fprintf(c.out, "confirmed %s: generation %d stays\n", kept.Command, kept.Generation)
	return err
}

// confirmFlag is --confirm, for the commands that can cut everybody off.
func confirmFlag() cli.Flag {
	return &cli.StringFlag{Name: "confirm", Usage: "roll back after `DURATION`, as 60s, unless confirm comes, whatever happens meanwhile"}
}

// confirmWindow reads --confirm; "" is no confirmation.
func (c *call) confirmWindow() (string, error) {
	if !c.flags.IsSet("confirm") {
		return "", nil
	}
	lasts := c.flags.String("confirm")
	if _, err := policy.ParseDuration(lasts); err != nil {
		return "", c.retyped("confirm", lasts, "60s", err)
	}
	if c.flags.Bool("dry-run") {
		return "", &policy.InputError{What: "a dry run changes nothing that could be confirmed", Hint: "xdpallow " + c.name + " --help"}
	}
	return lasts, nil
}

// toConfirm returns the command that confirms.
func (c *call) toConfirm() string { return c.withSocket("xdpallow confirm") }
