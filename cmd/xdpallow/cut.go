package main

// This file is `cut`, which ends open connections.

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func cutCommand(e env) *cli.Command {
	return e.command("cut", "End the open connections of a prefix or an owner", "PREFIX|ADDR|OWNER", []cli.Flag{
		&cli.BoolFlag{Name: "allow-any", Usage: "cut a prefix wider than /8, or /19 for IPv6"}, reasonFlag(),
	}, cut)
}

func cut(ctx context.Context, c *call) error {
	subject, err := c.subject()
	if err != nil {
		return err
	}
	result, err := control.Cut.Ask(ctx, c.client(), api.CutRequest{Subject: subject, AllowAny: c.flags.Bool("allow-any"), Sessions: c.sessions()})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(result)
	}
	_, err = fmt.Fprintf(c.out, "cut %s of %s\n", policy.Count(result.Cut, "connection", "connections"), result.Subject)
	return err
}
