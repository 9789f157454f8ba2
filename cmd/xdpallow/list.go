package main

// This file is `list`: who may connect, and who says so.

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

func listCommand(e env) *cli.Command {
	return e.command("list", "Show who may connect", "", append([]cli.Flag{
		&cli.StringFlag{Name: "owner", Usage: "only the prefixes of `OWNER`"},
	}, offlineFlags()...), list)
}

func list(ctx context.Context, c *call) error {
	owner := c.flags.String("owner")
	if c.flags.IsSet("owner") {
		if err := policy.ParseName("owner", owner); err != nil {
			return c.renamed("owner", owner, err)
		}
	}
	listing, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (reconcile.Listing, error) {
		return from.List(ctx, owner)
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(listing.Entries, func(a, b reconcile.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	switch {
	case c.json:
		return c.printListing(listing)
	case c.text:
		return policy.WriteLines(c.out, lines(listing.Entries))
	}
	return table(c.out, 0, entryRows(listing.Entries))
}

// printListing is the JSON of list, add and remove.
func (c *call) printListing(listing reconcile.Listing) error {
	return control.WriteListing(c.out, listing)
}

// lines are the entries in the grammar of list files, to be fed to `add -`.
func lines(entries []reconcile.Entry) iter.Seq[policy.Claim] {
	return func(yield func(policy.Claim) bool) {
		for _, e := range entries {
			claim := policy.Claim{Prefix: e.Prefix, Owner: e.Owner, Services: e.Services, Note: e.Note}
			if e.Until != nil {
				claim.Until = *e.Until
			}
			if !yield(claim) {
				return
			}
		}
	}
}

func entryRows(entries []reconcile.Entry) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		if !yield([]string{"PREFIX", "OWNER", "SERVICES", "UNTIL", "LAST-SEEN", "ORIGIN", "NOTE"}) {
			return
		}
		for _, e := range entries {
			if !yield([]string{
				e.Prefix.String(), or(e.Owner, "-"), or(strings.Join(e.Services, ","), "all"),
				moment(e.Until), moment(e.LastSeen), or(joined(e.Origins), "-"), or(e.Note, "-"),
			}) {
				return
			}
		}
	}
}

func joined(origins []policy.Origin) string {
	names := make([]string, len(origins))
	for i, o := range origins {
		names[i] = string(o)
	}
	return strings.Join(names, ",")
}

// moment is a time as the JSON has it, or a dash for never.
func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
