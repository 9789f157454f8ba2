package main

// This file is `mode`, which lets everybody in for a while and counts them.

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func modeCommand(e env) *cli.Command {
	return e.command("mode", "Show the modes, or audit for a while", "[enforce|audit]", []cli.Flag{
		reasonFlag(),
		&cli.StringFlag{Name: "for", Usage: "end the audit after `DURATION`, as 15m, also when the daemon is dead"},
		&cli.StringSliceFlag{Name: "service", Usage: "only `SERVICE`, repeated or with commas; every service without it"},
	}, mode)
}

func mode(ctx context.Context, c *call) error {
	req, err := c.modeRequest()
	if err != nil {
		return err
	}
	var modes api.Modes
	if req.Mode == "" {
		var status api.Status
		status, err = c.client().Status(ctx)
		modes = api.Modes{Generation: status.Generation, Services: status.Services}
	} else {
		modes, err = control.Mode.Ask(ctx, c.client(), req)
	}
	if err != nil {
		return err
	}
	for _, warning := range modes.Warnings {
		c.note("warning: %s", warning)
	}
	if c.json {
		return c.printJSON(modes)
	}
	rows := [][]string{{"SERVICE", "MODE"}}
	for _, s := range modes.Services {
		rows = append(rows, []string{s.Name, describeMode(s)})
	}
	return table(c.out, 0, slices.Values(rows))
}

// modeRequest reads arguments and flags. Without a mode it asks for the present ones.
func (c *call) modeRequest() (req api.ModeRequest, err error) {
	f := c.flags
	req.Mode, req.For = policy.Mode(f.Args().First()), f.String("for")
	if f.IsSet("service") {
		given := f.StringSlice("service")
		if req.Services, err = policy.ParseServices(given); err != nil {
			return req, c.renamed("service", strings.Join(given, ","), err)
		}
	}
	switch {
	case f.NArg() > 1 || f.NArg() == 1 && !slices.Contains(policy.Modes, req.Mode):
		return req, &policy.InputError{What: fmt.Sprintf("mode %s is not enforce or audit", strings.Join(f.Args().Slice(), " ")), Hint: "xdpallow mode --help"}
	case req.Mode == policy.Audit && !f.IsSet("for"):
		return req, &policy.InputError{What: "an audit needs an end: one without an end is set with run --mode or in the config file", Hint: typed(c.env) + " --for 15m"}
	case req.Mode == policy.Audit:
		if _, err := policy.ParseDuration(req.For); err != nil {
			return req, c.retyped("for", req.For, "15m", err)
		}
	case f.IsSet("for"):
		return req, &policy.InputError{What: "--for applies to audit only", Hint: "xdpallow mode audit --for 15m"}
	case req.Mode == "" && len(req.Services) > 0:
		return req, &policy.InputError{What: "--service goes with enforce or audit", Hint: "xdpallow mode"}
	}
	return req, nil
}

// describeMode returns "enforce", "audit", or "audit until TIME".
func describeMode(s api.Service) string {
	if s.Until == nil {
		return string(s.Mode)
	}
	return string(s.Mode) + " until " + moment(s.Until)
}
