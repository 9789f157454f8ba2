package main

// This file is `suspend` and `resume`, which stop one customer now and let him in again.

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func suspendCommand(e env) *cli.Command {
	return e.command("suspend", "Stop a prefix or an owner, whoever lists it", "PREFIX|ADDR|OWNER", []cli.Flag{
		cutFlag(),
		&cli.BoolFlag{Name: "nested", Usage: "stop what other owners have in the owner's prefixes, too"},
		&cli.BoolFlag{Name: "allow-any", Usage: "stop a prefix wider than /8, or /19 for IPv6"},
		dryRunFlag(), seenFlag(), reasonFlag(),
	}, suspend)
}

func resumeCommand(e env) *cli.Command {
	return e.command("resume", "Let in again what suspend stopped", "PREFIX|ADDR|OWNER", []cli.Flag{reasonFlag()}, resume)
}

func cutFlag() cli.Flag {
	return &cli.BoolFlag{Name: "cut", Usage: "end open connections, too"}
}

func suspend(ctx context.Context, c *call) error {
	subject, err := c.subject()
	if err != nil {
		return err
	}
	seen, err := c.seen()
	if err != nil {
		return err
	}
	dry := c.flags.Bool("dry-run")
	result, err := control.Suspend.Ask(ctx, c.client(), api.SuspendRequest{
		Subject: subject, Cut: c.flags.Bool("cut"), DryRun: dry, Seen: seen, Sessions: c.sessions(),
		Nested: c.flags.Bool("nested"), AllowAny: c.flags.Bool("allow-any"),
	})
	if err != nil {
		return err
	}
	for _, warning := range result.Warnings {
		c.note("warning: %s", warning)
	}
	if len(result.Warnings) > 0 {
		c.note("hint: %s", c.withSocket("xdpallow mode enforce"))
	}
	if dry {
		return c.printSuspensionPlan(result)
	}
	c.warnOfCuts(result.Cuts)
	if result.Cut == nil {
		return c.printSuspension(result, "suspended", " (open connections live on)")
	}
	return c.printSuspension(result, "suspended", " ("+policy.Count(*result.Cut, "connection", "connections")+" cut)")
}

// printSuspensionPlan prints the answer of a dry run.
func (c *call) printSuspensionPlan(result api.SuspendResult) error {
	if !c.json {
		c.printCuts(result.Cuts)
	}
	if err := c.printSuspension(result, "would suspend", " (dry run: nothing was changed)"); err != nil {
		return err
	}
	return refusal(result.Foreseen)
}

func resume(ctx context.Context, c *call) error {
	subject, err := c.subject()
	if err != nil {
		return err
	}
	result, err := control.Resume.Ask(ctx, c.client(), api.SuspendRequest{Subject: subject})
	if err != nil {
		return err
	}
	suffix := ""
	if len(result.Still) > 0 {
		suffix = " (still suspended by " + strings.Join(result.Still, " and ") + ")"
	}
	return c.printSuspension(result, "resumed", suffix)
}

func (c *call) printSuspension(result api.SuspendResult, verb, suffix string) error {
	if c.json {
		return c.printJSON(result)
	}
	what := result.Subject
	if result.Prefixes > 0 { // else the subject is a part of one
		what += ", " + policy.Count(result.Prefixes, "prefix", "prefixes")
	}
	line := verb + " " + what + suffix
	if result.Already && result.Suspended != nil {
		line = already(result)
	}
	fmt.Fprintln(c.out, line)
	c.printOpen(result)
	fmt.Fprintf(c.out, "generation %d\n", result.Generation)
	return nil
}

// already says that the subject was suspended before, since when and why.
func already(result api.SuspendResult) string {
	s := result.Suspended
	line := fmt.Sprintf("%s is suspended already, since %s", s.Subject, moment(&s.Since))
	if s.Reason != "" {
		line += " (" + s.Reason + ")"
	}
	if result.Cut != nil {
		line += ", " + policy.Count(*result.Cut, "connection", "connections") + " cut"
	}
	return line
}

// printOpen names the entries of others in the suspended owner's network, which stay open.
func (c *call) printOpen(result api.SuspendResult) {
	for i, e := range result.Open {
		if i == mostOpen {
			fmt.Fprintf(c.out, "! %d more prefixes of other owners stay open\n", len(result.Open)-i)
			return
		}
		fmt.Fprintf(c.out, "! %s stays open\n", whose(e.Prefix, e.Owner))
	}
	if len(result.Open) > 0 {
		c.note("hint: to stop these, too: %s --nested", typed(c.env))
	}
}

// mostOpen bounds the entries that printOpen names.
const mostOpen = 20

// subject reads the argument of commands about PREFIX|OWNER. The name of an owner may look
// like an address; then the address is meant.
func (c *call) subject() (policy.Subject, error) {
	name := c.name
	if c.flags.NArg() != 1 {
		return policy.Subject{}, &policy.InputError{What: name + " needs one prefix or owner", Hint: "xdpallow " + name + " acme"}
	}
	arg := c.flags.Args().First()
	if _, err := netip.ParseAddr(arg); err == nil || strings.ContainsAny(arg, "/:%*") {
		prefix, warning, err := policy.ParsePrefix(arg)
		if err != nil {
			return policy.Subject{}, c.corrected(err, func(prefixes []string) string {
				var commands []string
				for _, p := range prefixes { // one subject a command
					commands = append(commands, c.insteadOf(arg, p))
				}
				return strings.Join(commands, "; ")
			})
		}
		c.warnOfPrefix(arg, prefix, warning)
		return policy.Subject{Prefix: prefix}, nil
	}
	return policy.Subject{Owner: arg}, c.owner(arg)
}

// owner checks the name of an owner that is an argument.
func (c *call) owner(name string) error {
	err := policy.ParseName("owner", name)
	if input, ok := err.(*policy.InputError); ok && input.Hint != "" {
		return &policy.InputError{What: input.What, Hint: retyped(c.env, name, strings.ToLower(name))}
	}
	return err
}
