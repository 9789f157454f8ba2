package main

// This file is `limit`, which bounds how many connections an owner opens.

import (
	"context"
	"fmt"
	"math"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func limitCommand(e env) *cli.Command {
	return e.command("limit", "Limit how many connections an owner opens", "OWNER RATE|none", []cli.Flag{
		burstFlag(), reasonFlag(),
	}, limit)
}

func burstFlag() cli.Flag {
	return &cli.Uint64Flag{Name: "burst", Usage: "`N` connections at once (default: those of one second)"}
}

// limitRequest reads whom a limit is for, and the rate.
func (c *call) limitRequest() (req api.LimitRequest, err error) {
	if c.flags.NArg() != 2 {
		return req, &policy.InputError{What: c.name + " needs an owner, and a rate or none", Hint: "xdpallow " + c.name + " acme 200/s"}
	}
	owner, rate := c.flags.Args().Get(0), c.flags.Args().Get(1)
	if err := c.owner(owner); err != nil {
		return req, err
	}
	req.Owner = owner
	burst := c.flags.Uint64("burst")
	if c.flags.IsSet("burst") && (burst == 0 || burst > math.MaxUint32) {
		return req, &policy.InputError{What: fmt.Sprintf("--burst %d is not from 1 to %d", burst, uint32(math.MaxUint32)), Hint: "xdpallow " + c.name + " acme 200/s --burst 400"}
	}
	if rate == "none" {
		if burst != 0 {
			return req, &policy.InputError{What: "--burst does not apply to none", Hint: "xdpallow " + c.name + " " + owner + " none"}
		}
	} else {
		perSecond, err := policy.ParseRate(rate)
		if err != nil {
			return req, err
		}
		req.Limit = api.Limit{PerSecond: perSecond, Burst: uint32(burst)}
	}
	return req, nil
}

func limit(ctx context.Context, c *call) error {
	req, err := c.limitRequest()
	if err != nil {
		return err
	}
	result, err := control.Limit.Ask(ctx, c.client(), req)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(result)
	}
	_, err = fmt.Fprintf(c.out, "%s: %s\ngeneration %d\n", req.Owner, describeLimit(result.Limit), result.Generation)
	return err
}

// describeLimit returns what an owner may open, in words.
func describeLimit(l *api.Limit) string {
	if l == nil {
		return "no limit"
	}
	text := fmt.Sprintf("%s, burst %d", policy.FormatRate(l.PerSecond), l.Burst)
	if l.Origin != "" {
		text += " (" + string(l.Origin) + ")"
	}
	return text
}
