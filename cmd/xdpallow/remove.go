package main

// This file is `remove`, which takes back what add let in.

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func removeCommand(e env) *cli.Command {
	return e.command("remove", "Take back what add let in", "PREFIX|ADDR...|-", []cli.Flag{
		&cli.StringFlag{Name: "owner", Usage: "remove all that add let in for `OWNER`"},
		&cli.BoolFlag{Name: "expired", Usage: "remove what add let in and has ended, with --owner only his"},
		cutFlag(),
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		dryRunFlag(), seenFlag(), reasonFlag(),
	}, remove)
}

func remove(ctx context.Context, c *call) error {
	req, err := c.removeRequest()
	if err != nil {
		return err
	}
	req.Cut, req.Sessions = c.flags.Bool("cut"), c.sessions()
	if req.Seen, err = c.seen(); err != nil {
		return err
	}
	listing, err := control.Remove.Ask(ctx, c.client(), req)
	if err != nil {
		return err
	}
	if req.DryRun {
		return c.printRemoval(listing)
	}
	c.warnOfCuts(listing.Cuts)
	still := map[netip.Prefix]string{}
	for _, s := range listing.Still {
		still[s.Prefix] = " (" + cmp.Or(string(s.Origin), whose(s.By, s.Owner)) + " still lists it)"
	}
	if listing.Cut == nil {
		// Only openings are filtered: open connections live on.
		return c.printChange(listing, func(e api.Entry) (string, string) {
			return "removed", strings.TrimSpace(e.Owner + cmp.Or(still[e.Prefix], " (open connections live on)"))
		})
	}
	err = c.printChange(listing, func(e api.Entry) (string, string) {
		return "removed", strings.TrimSpace(e.Owner + still[e.Prefix])
	})
	if err != nil || c.json {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s cut\n", policy.Count(*listing.Cut, "connection", "connections"))
	return err
}

// removeRequest reads which prefixes are meant.
func (c *call) removeRequest() (req api.RemoveRequest, err error) {
	owner, named := c.flags.String("owner"), c.flags.NArg() > 0
	req = api.RemoveRequest{
		Owner: owner, Expired: c.flags.Bool("expired"), AllowEmpty: c.flags.Bool("allow-empty"), DryRun: c.flags.Bool("dry-run"),
	}
	if named == (req.Expired || c.flags.IsSet("owner")) {
		return req, &policy.InputError{What: c.name + " needs either prefixes, --owner or --expired", Hint: "xdpallow " + c.name + " 192.0.2.0/24"}
	}
	if !named && c.flags.IsSet("owner") {
		if err := policy.ParseName("owner", owner); err != nil {
			return req, c.renamed("owner", owner, err)
		}
	} else if named {
		claims, err := c.claims()
		if err != nil {
			return req, err
		}
		for _, claim := range claims {
			req.Prefixes = append(req.Prefixes, claim.Prefix.String())
		}
	}
	return req, nil
}

// printRemoval prints the answer of a dry run.
func (c *call) printRemoval(listing api.Listing) error {
	if c.json {
		if err := writeListing(c.out, listing); err != nil {
			return err
		}
		return refusal(listing.Foreseen)
	}
	for _, s := range listing.Still {
		c.note("warning: %s still lists %s", cmp.Or(string(s.Origin), whose(s.By, s.Owner)), s.Prefix)
	}
	return c.printWould(api.Plan{
		Generation: listing.Generation, Total: listing.Total, Removed: listing.Entries, Foreseen: listing.Foreseen,
	})
}
