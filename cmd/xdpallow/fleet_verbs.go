package main

// This file is the commands that change a fleet's list: those of one host, with its flags.

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/fleet/edits"
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func fleetAddCommand(e env) *cli.Command {
	return e.command("fleet add", "Let prefixes open connections, on every host", "PREFIX|ADDR...|-", changeFlags(
		append(entryFlags(), dryRunFlag())...,
	), onFleet(func(ctx context.Context, c *fleetCall) error {
		req, err := c.addRequest()
		if err != nil {
			return err
		}
		return c.existing(c.make(ctx, edits.Add(req)))
	}))
}

func fleetRemoveCommand(e env) *cli.Command {
	return e.command("fleet remove", "Take prefixes off the list, on every host", "PREFIX|ADDR...|-", changeFlags(
		&cli.StringFlag{Name: "owner", Usage: "remove all prefixes of `OWNER`"},
		&cli.BoolFlag{Name: "expired", Usage: "remove what has ended, with --owner only his"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		dryRunFlag(),
	), onFleet(func(ctx context.Context, c *fleetCall) error {
		req, err := c.removeRequest()
		if err != nil {
			return err
		}
		return c.make(ctx, edits.Remove(req))
	}))
}

func fleetReplaceCommand(e env) *cli.Command {
	return e.command("fleet replace", "Make the list of every host equal to a file", "FILE|-", changeFlags(
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
		dryRunFlag(),
	), onFleet(func(ctx context.Context, c *fleetCall) error {
		if c.flags.NArg() != 1 {
			return &policy.InputError{What: "fleet replace needs one file, or - for stdin", Hint: "xdpallow fleet replace FILE --dry-run"}
		}
		force := forced(c.flags)
		req := api.ReplaceRequest{DryRun: c.flags.Bool("dry-run"), ForceShrink: force.ForceShrink, AllowEmpty: force.AllowEmpty, AllowAny: force.AllowAny}
		var err error
		if req.Name, req.Text, err = c.listText(c.flags.Args().First()); err != nil {
			return err
		}
		edit, warnings, err := edits.Replace(req)
		if err != nil {
			return err
		}
		for _, warning := range warnings {
			c.note("warning: %s", warning)
		}
		return c.make(ctx, edit)
	}))
}

func fleetSuspendCommand(e env) *cli.Command {
	return e.command("fleet suspend", "Stop a prefix or an owner, on every host, whoever lists it", "PREFIX|ADDR|OWNER", changeFlags(
		&cli.BoolFlag{Name: "nested", Usage: "stop what other owners have in the owner's prefixes, too"},
		&cli.BoolFlag{Name: "allow-any", Usage: "stop a prefix wider than /8, or /19 for IPv6"},
		dryRunFlag(),
	), onFleet(func(ctx context.Context, c *fleetCall) error {
		subject, err := c.subject()
		if err != nil {
			return err
		}
		edit, err := edits.Suspend(api.SuspendRequest{
			Subject: subject, Nested: c.flags.Bool("nested"), AllowAny: c.flags.Bool("allow-any"), DryRun: c.flags.Bool("dry-run"),
		}, c.by(), c.flags.String("reason"))
		if err != nil {
			return err
		}
		return c.override(ctx, edit, func() string {
			switch already := edit.Already; {
			case already != nil && already.Reason != "":
				return fmt.Sprintf("%s is suspended already, since %s (%s)", subject, moment(&already.Since), already.Reason)
			case already != nil:
				return fmt.Sprintf("%s is suspended already, since %s", subject, moment(&already.Since))
			case edit.DryRun:
				return fmt.Sprintf("would suspend %s (dry run: nothing was changed)", subject)
			}
			return fmt.Sprintf("suspended %s (open connections live on)", subject)
		})
	}))
}

func fleetResumeCommand(e env) *cli.Command {
	return e.command("fleet resume", "Let in again what fleet suspend stopped", "PREFIX|ADDR|OWNER", changeFlags(), onFleet(func(ctx context.Context, c *fleetCall) error {
		subject, err := c.subject()
		if err != nil {
			return err
		}
		edit, err := edits.Resume(subject)
		if err != nil {
			return err
		}
		return c.override(ctx, edit, func() string { return fmt.Sprintf("resumed %s", subject) })
	}))
}

func fleetLimitCommand(e env) *cli.Command {
	return e.command("fleet limit", "Limit how many connections an owner opens on each host", "OWNER RATE|none", changeFlags(
		burstFlag(),
	), onFleet(func(ctx context.Context, c *fleetCall) error {
		req, err := c.limitRequest()
		if err != nil {
			return err
		}
		edit, err := edits.Limit(req)
		if err != nil {
			return err
		}
		return c.override(ctx, edit, func() string {
			if req.PerSecond == 0 {
				return req.Owner + ": no limit"
			}
			return fmt.Sprintf("%s: %s on each host", req.Owner, policy.FormatRate(req.PerSecond))
		})
	}))
}

// override makes a change of suspensions and limits, and prints what says says of it.
func (c *fleetCall) override(ctx context.Context, edit *edits.Overrides, says func() string) error {
	change, err := c.change()
	if err != nil {
		return err
	}
	change.Overrides, change.Edit = true, edit.On
	m, before, err := c.client.Write(ctx, change)
	if err != nil {
		return err
	}
	if !c.json {
		fmt.Fprintln(c.out, says())
	}
	var r reached
	if made := m != before; made {
		r = c.wait(ctx, m)
	}
	if c.json {
		err := c.printJSON(struct {
			Fleet   string `json:"fleet"`
			List    string `json:"list"`
			Serial  uint64 `json:"serial"`
			Changed bool   `json:"changed"`
			reached
			Suspended []layout.Suspension     `json:"suspended"`
			Limits    map[string]layout.Limit `json:"limits"`
		}{c.fleet, c.list, m.Serial, m != before, r, append([]layout.Suspension{}, m.Suspended...), m.Limits})
		if err != nil {
			return err
		}
	}
	if m == before {
		if !c.json {
			fmt.Fprintf(c.out, "serial %d, %s\n", m.Serial, policy.Count(m.Entries, "prefix", "prefixes"))
		}
		return nil
	}
	return c.tell(m, r)
}

func fleetConfirmCommand(e env) *cli.Command {
	return e.command("fleet confirm", "Give every host the change that a group has first", "", fleetFlags(waitFlag()), onFleet(func(ctx context.Context, c *fleetCall) error {
		if _, err := c.patience(); err != nil {
			return err
		}
		m, _, err := c.client.Confirm(ctx, c.list)
		if err != nil {
			return err
		}
		r := c.wait(ctx, m)
		if c.json {
			if err := c.printJSON(changed{Fleet: c.fleet, List: c.list, Serial: m.Serial, Total: m.Entries, Changed: true, reached: &r}); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(c.out, "confirmed %s\n", m.Command)
		}
		return c.tell(m, r)
	}))
}

func fleetRollbackCommand(e env) *cli.Command {
	return e.command("fleet rollback", "Take the last change back; twice is forward again", "", changeFlags(
		&cli.Uint64Flag{Name: "to", Usage: "to what the list was at `SERIAL`"},
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
		dryRunFlag(),
	), onFleet(func(ctx context.Context, c *fleetCall) error {
		to, err := c.earlier(ctx, c.flags.Uint64("to"))
		if err != nil {
			return err
		}
		content, err := c.client.Content(ctx, c.list, to, layout.List{})
		if err != nil {
			return err
		}
		return c.make(ctx, edits.Restore(content, forced(c.flags), c.flags.Bool("dry-run")))
	}))
}

// earlier returns the manifest that the list had at serial; 0 is the last one before what stands.
func (c *fleetCall) earlier(ctx context.Context, serial uint64) (*layout.Manifest, error) {
	past, err := c.client.Past(ctx, c.list, 100)
	if err != nil {
		return nil, err
	}
	for _, m := range past {
		if serial == 0 || m.Serial == serial {
			return m, nil
		}
	}
	if serial == 0 {
		return nil, &policy.Refused{What: "there is no change to take back", Hint: "xdpallow fleet history"}
	}
	return nil, &policy.Refused{What: fmt.Sprintf("serial %d is not one of the last 100 that the list had", serial), Hint: "xdpallow fleet history -n 0"}
}
