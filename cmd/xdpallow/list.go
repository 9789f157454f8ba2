package main

// This file is `list`: who may connect, and who says so.

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

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
	if req.Unused > 0 {
		c.note("not seen for %s, counted from when an entry was first enforced", c.flags.String("unused"))
	}
	left, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.LeftOut, error) {
		return from.List(ctx, req, c.out)
	})
	if err == nil {
		c.noteLeftOut(left)
	}
	return err
}

// listed reads which entries are asked for.
func (c *call) listed() (api.ListRequest, error) {
	req := api.ListRequest{Owner: c.flags.String("owner"), Expired: c.flags.Bool("expired"), Format: c.flags.String("output"), Columns: c.columns}
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

// noteLeftOut says what is not unused for all that it was not seen.
func (c *call) noteLeftOut(left api.LeftOut) {
	if left.Count == 0 {
		return
	}
	shown := make([]string, 0, len(left.First)+1)
	for _, prefix := range left.First {
		shown = append(shown, prefix.String())
	}
	if more := left.Count - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	c.note("left out, with a connection open now: %s", strings.Join(shown, ", "))
}
