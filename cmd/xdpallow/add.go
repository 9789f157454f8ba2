package main

// This file is `add`, which lets sources in.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func addCommand(e env) *cli.Command {
	return e.command("add", "Let prefixes open connections", "PREFIX|ADDR...|-", append(entryFlags(), dryRunFlag(), reasonFlag()), add)
}

// entryFlags are the flags that say what an entry is.
func entryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "owner", Usage: "`OWNER`, the organisation that the prefixes belong to"},
		&cli.StringSliceFlag{Name: "service", Usage: "only to `SERVICE`, repeated or with commas; all, as without it at first, is every service"},
		&cli.StringFlag{Name: "for", Usage: "end after `DURATION`, as 90d, 1w2d, 36h or 90s"},
		&cli.StringFlag{Name: "until", Usage: "end at `TIME`, as 2027-01-31, to its end in UTC, or 2027-01-31T18:00:00Z; or never"},
		&cli.StringFlag{Name: "note", Usage: "`TEXT` that says why, for whoever reads the list next"},
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
	}
}

func add(ctx context.Context, c *call) error {
	req, err := c.addRequest()
	if err != nil {
		return err
	}
	listing, err := control.Add.Ask(ctx, c.client(), req)
	if err != nil {
		return c.existing(err)
	}
	for _, warning := range listing.Warnings {
		c.note("warning: %s", warning)
	}
	if req.DryRun {
		return c.printAddition(listing)
	}
	was := formerly(listing.Was)
	return c.printChange(listing, func(e api.Entry) (verb, more string) {
		before, found := was[e.Prefix]
		switch {
		case found && difference(before, e) == "":
			return "unchanged", e.Owner
		case found:
			return "changed", described(was, e)
		case e.Until == nil:
			return "added", e.Owner
		}
		return "added", strings.TrimSpace(e.Owner + " until " + moment(e.Until))
	})
}

// printAddition prints what a dry run found, without the entries that would stay as they are.
func (c *call) printAddition(listing api.Listing) error {
	if c.json {
		if err := writeListing(c.out, listing); err != nil {
			return err
		}
		return refusal(listing.Foreseen)
	}
	plan := api.Plan{Generation: listing.Generation, Total: listing.Total, Was: listing.Was, Foreseen: listing.Foreseen}
	was := formerly(listing.Was)
	for _, e := range listing.Entries {
		before, found := was[e.Prefix]
		switch {
		case !found:
			plan.Added = append(plan.Added, e)
		case difference(before, e) != "":
			plan.Changed = append(plan.Changed, e)
		}
	}
	return c.printWould(plan)
}

// addRequest reads the flags, and then the entries. A mistake in them is found without a daemon.
func (c *call) addRequest() (api.AddRequest, error) {
	f := c.flags
	if f.NArg() == 0 {
		return api.AddRequest{}, &policy.InputError{What: c.name + " needs a prefix, an address or -", Hint: "xdpallow " + c.name + " 192.0.2.0/24 --owner acme"}
	}
	req := api.AddRequest{
		Owner: f.String("owner"), Note: f.String("note"), For: f.String("for"), Until: f.String("until"),
		NoNote:   f.IsSet("note") && f.String("note") == "",
		AllowAny: f.Bool("allow-any"), DryRun: f.Bool("dry-run"), Sessions: c.sessions(),
		Whole: slices.Equal(f.Args().Slice(), []string{"-"}),
	}
	if f.IsSet("owner") {
		if err := policy.ParseName("owner", req.Owner); err != nil {
			return req, c.renamed("owner", req.Owner, err)
		}
	}
	if f.IsSet("for") && f.IsSet("until") {
		return req, &policy.InputError{What: "an entry ends after --for or at --until, not both", Hint: "xdpallow add --help"}
	}
	if f.IsSet("for") {
		if _, err := policy.ParseDuration(req.For); err != nil {
			return req, c.retyped("for", req.For, "90d", err)
		}
	}
	if f.IsSet("until") && req.Until != api.Never {
		soon := time.Now().UTC().AddDate(0, 0, 90).Format(time.DateOnly)
		until, err := policy.ParseUntil(req.Until)
		if err == nil && !until.After(time.Now()) {
			err = &policy.InputError{What: fmt.Sprintf("--until %s is in the past", req.Until)}
		}
		if err != nil {
			return req, c.retyped("until", req.Until, soon, err)
		}
	}
	var err error
	if f.IsSet("service") {
		given := f.StringSlice("service")
		if req.Services, err = policy.ParseServices(given); err != nil {
			return req, c.renamed("service", strings.Join(given, ","), err)
		}
	}
	if err := policy.ParseNote(req.Note); err != nil {
		return req, err
	}
	claims, err := c.claims()
	for _, claim := range claims {
		req.Prefixes = append(req.Prefixes, policy.FormatLine(claim))
	}
	return req, err
}

// retyped returns err with a hint: the command line with another value of the flag.
func (c *call) retyped(flag, old, value string, err error) error {
	input, ok := errors.AsType[*policy.InputError](err)
	if !ok {
		return err
	}
	hint := retyped(c.env, old, value, "--"+flag+"="+old, "--"+flag+"="+value)
	return &policy.InputError{Where: input.Where, What: input.What, Hint: hint}
}

// renamed turns the hint of err, the name in lower case, into a command line.
func (c *call) renamed(flag, given string, err error) error {
	if input, ok := errors.AsType[*policy.InputError](err); ok && input.Hint == "" {
		return err
	}
	return c.retyped(flag, given, strings.ToLower(given), err)
}

// existing turns the hint of err, "service=api,web", into a command line with the services
// that exist. Where a line of stdin names the service there is no hint.
func (c *call) existing(err error) error {
	given := strings.Join(c.flags.StringSlice("service"), ",")
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		if names, ok := strings.CutPrefix(input.Hint, "service="); ok {
			return c.retyped("service", given, names, err)
		}
	}
	return err
}
