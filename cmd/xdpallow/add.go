package main

// This file is `add`: let a source in.

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

func addCommand(e env) *cli.Command {
	return e.command("add", "Let prefixes open connections", "PREFIX|ADDR...|-", []cli.Flag{
		&cli.StringFlag{Name: "owner", Usage: "`OWNER`, the organisation that the prefixes belong to"},
		&cli.StringFlag{Name: "note", Usage: "`TEXT` that says why, for whoever reads the list next"},
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
	}, add)
}

func add(ctx context.Context, c *call) error {
	if c.flags.NArg() == 0 {
		return &policy.InputError{What: "add needs a prefix, an address or -", Hint: "xdpallow add 192.0.2.0/24 --owner acme"}
	}
	owner, note := c.flags.String("owner"), c.flags.String("note")
	if c.flags.IsSet("owner") {
		if err := policy.ParseName("owner", owner); err != nil {
			return err
		}
	}
	if err := policy.ParseNote(note); err != nil {
		return err
	}
	claims, err := c.claims()
	if err != nil {
		return err
	}
	req := reconcile.AddRequest{Owner: owner, Note: note, AllowAny: c.flags.Bool("allow-any"), Sessions: c.sessions()}
	for _, claim := range claims {
		req.Prefixes = append(req.Prefixes, policy.FormatLine(claim))
	}
	listing, err := c.client().Add(ctx, c.self(), req)
	if err != nil {
		return err
	}
	return c.printChange(listing, "added", func(e reconcile.Entry) string { return e.Owner })
}
