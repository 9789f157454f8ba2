package main

// This file is `detach`, the only command that opens the gate.

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func detachCommand(e env) *cli.Command {
	return e.command("detach", "Open the gate", "", append([]cli.Flag{
		&cli.StringSliceFlag{Name: "interface", Usage: "only `IF`, repeated or with commas; every interface without it"},
		&cli.BoolFlag{Name: "yes", Usage: "do not ask"},
		reasonFlag(),
	}, offlineFlags()...), detach)
}

func detach(ctx context.Context, c *call) error {
	interfaces, err := interfaceNames(policy.ParseInterface, c.flags.StringSlice("interface"))
	if err != nil {
		return err
	}
	if err := c.agreed(interfaces); err != nil {
		return err
	}
	result, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.DetachResult, error) {
		return from.Detach(ctx, c.self(), api.DetachRequest{Interfaces: interfaces})
	})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(result)
	}
	if len(result.Detached)+len(result.Left) == 0 {
		fmt.Fprintln(c.out, "no interface was attached")
	}
	for _, name := range result.Detached {
		fmt.Fprintf(c.out, "detached %s: every source may connect through it\n", name)
	}
	for _, name := range result.Left {
		fmt.Fprintf(c.out, "still attached: %s\n", name)
	}
	if result.Ended {
		fmt.Fprintln(c.out, "the daemon has ended")
	}
	return nil
}

// agreed asks for consent on a terminal. A script that opens a host must give --yes.
func (c *call) agreed(interfaces []string) error {
	where := "every interface"
	if len(interfaces) > 0 {
		where = strings.Join(interfaces, ", ")
	}
	switch {
	case c.flags.Bool("yes"):
		return nil
	case !c.terminal:
		return &policy.InputError{
			What: "detach lets every source connect through " + where + ", and nobody is here to ask",
			Hint: typed(c.env) + " --yes",
		}
	case c.confirmed("this lets every source connect through " + where + ": detach?"):
		return nil
	}
	return &policy.Refused{What: "nothing was detached"}
}
