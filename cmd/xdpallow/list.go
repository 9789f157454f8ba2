package main

// This file is `list`: who may connect, and who says so.

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func listCommand(e env) *cli.Command {
	return e.command("list", "Show who may connect", "[OWNER|PREFIX|ADDR]", append([]cli.Flag{
		&cli.StringFlag{Name: "owner", Usage: "only the prefixes of `OWNER`; - is those of none"},
		&cli.StringFlag{Name: "unused", Usage: "only what was not seen for `DURATION`, as 90d, counted from when it was first enforced, and has no connection open now"},
		&cli.BoolFlag{Name: "expired", Usage: "only what has ended"},
		&cli.StringFlag{Name: "service", Usage: "with -o nginx or haproxy: only who may connect to `NAME`"},
		&cli.StringFlag{Name: "expiring", Usage: "only what ends within `DURATION`, as 14d"},
	}, offlineFlags()...), list)
}

func list(ctx context.Context, c *call) error {
	if done, err := c.listTable(ctx); done || err != nil {
		return err
	}
	req, err := c.listed()
	if err != nil {
		return err
	}
	listing, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.Listing, error) {
		return from.List(ctx, req)
	})
	if err != nil {
		return err
	}
	if req.Unused > 0 {
		c.noteUnused(listing.Connected)
	}
	slices.SortStableFunc(listing.Entries, func(a, b api.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	switch {
	case len(listing.Entries) == 0 && !c.json && !c.text:
		return c.nothing("nobody listed")
	case c.json:
		return c.printListing(listing)
	case c.text:
		return policy.WriteLines(c.out, lines(listing.Entries))
	}
	return fitted(c.out, c.columns, entryRows(listing.Entries, req.Unused > 0))
}

// listed reads which entries are asked for.
func (c *call) listed() (api.ListRequest, error) {
	req := api.ListRequest{Owner: c.flags.String("owner"), Expired: c.flags.Bool("expired")}
	switch c.flags.NArg() {
	case 0:
	case 1:
		subject, err := c.subject()
		if err != nil {
			return req, err
		}
		if subject.Owner != "" && c.flags.IsSet("owner") {
			return req, &policy.InputError{What: fmt.Sprintf("list takes one owner, and %s and --owner %s are two", subject.Owner, req.Owner), Hint: "xdpallow list " + subject.Owner}
		}
		req.Owner, req.Prefix = cmp.Or(subject.Owner, req.Owner), subject.Prefix
	default:
		return req, &policy.InputError{What: "list takes one owner or one prefix", Hint: "xdpallow list " + quote(c.flags.Args().First())}
	}
	if c.flags.IsSet("owner") && req.Owner != api.NoOwner {
		if err := policy.ParseName("owner", req.Owner); err != nil {
			return req, c.renamed("owner", req.Owner, err)
		}
	}
	for _, f := range []struct {
		name, usual string
		into        *time.Duration
	}{{"unused", "90d", &req.Unused}, {"expiring", "14d", &req.Expiring}} {
		if !c.flags.IsSet(f.name) {
			continue
		}
		var err error
		if *f.into, err = policy.ParseDuration(c.flags.String(f.name)); err != nil {
			return req, c.retyped(f.name, c.flags.String(f.name), f.usual, err)
		}
	}
	return req, nil
}

// noteUnused says what "unused" means, to who is about to remove it.
func (c *call) noteUnused(connected []netip.Prefix) {
	c.note("not seen for %s, counted from when an entry was first enforced", c.flags.String("unused"))
	if len(connected) == 0 {
		return
	}
	shown := make([]string, 0, 5)
	for _, prefix := range connected[:min(len(connected), cap(shown))] {
		shown = append(shown, prefix.String())
	}
	if more := len(connected) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	c.note("left out, with a connection open now: %s", strings.Join(shown, ", "))
}

// printListing is the JSON of list, add and remove.
func (c *call) printListing(listing api.Listing) error {
	return control.WriteListing(c.out, listing)
}

// lines are the entries in the grammar of list files, to be fed to `add -`.
func lines(entries []api.Entry) iter.Seq[policy.Claim] {
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

// entryRows are a row an entry, with since when it is enforced if that matters, and with
// a column for suspensions where there is one: it is what is wrong.
func entryRows(entries []api.Entry, first bool) iter.Seq[[]string] {
	stopped := slices.ContainsFunc(entries, func(e api.Entry) bool { return e.Suspended })
	row := func(enforced, suspended string, cells ...string) []string {
		if stopped {
			cells = append(cells, suspended)
		}
		if first {
			return slices.Insert(cells, 5, enforced)
		}
		return cells
	}
	return func(yield func([]string) bool) {
		if !yield(row("FIRST-ENFORCED", "SUSPENDED", "PREFIX", "OWNER", "SERVICES", "UNTIL", "LAST-SEEN", "ORIGIN", "NOTE")) {
			return
		}
		for _, e := range entries {
			suspended := "-"
			if e.Suspended {
				suspended = "suspended"
			}
			if e.CountsFor != "" && e.SuspendedBy == e.CountsFor {
				suspended += " with " + e.SuspendedBy
			}
			until := moment(e.Until)
			if e.Ended {
				until = "ended " + until
			}
			if !yield(row(
				moment(e.FirstEnforced), suspended, e.Prefix.String(), ownerCell(e), cmp.Or(strings.Join(e.Services, ","), "all"),
				until, moment(e.LastSeen), cmp.Or(joined(e.Origins), "-"), cmp.Or(e.Note, "-"),
			)) {
				return
			}
		}
	}
}

// ownerCell is the owner of e, or in parentheses the one for whom it counts.
func ownerCell(e api.Entry) string {
	if e.Owner == "" && e.CountsFor != "" {
		return "(" + e.CountsFor + ")"
	}
	return cmp.Or(e.Owner, "-")
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
