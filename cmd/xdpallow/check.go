package main

// This file is `check`: what happens to a source that connects now? Its exit
// codes are grep's: 0 passes, 1 dropped, 2 for all that is no answer.

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

func checkCommand(e env) *cli.Command {
	return e.command("check", "Tell what happens to a source that connects", "ADDR", append([]cli.Flag{
		&cli.StringFlag{Name: "port", Usage: "`PORT` as N, tcp/N or udp/N; every protected port without it"},
	}, offlineFlags()...), func(ctx context.Context, c *call) error {
		dropped, err := check(ctx, c)
		if err != nil {
			return checkError{err}
		}
		if dropped {
			return errDropped
		}
		return nil
	})
}

func check(ctx context.Context, c *call) (dropped bool, err error) {
	addr, port, err := c.question()
	if err != nil {
		return false, err
	}
	results, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) ([]reconcile.CheckResult, error) {
		return from.Check(ctx, addr, port)
	})
	if err != nil {
		return false, err
	}
	slices.SortStableFunc(results, func(a, b reconcile.CheckResult) int { return policy.ComparePort(a.Port, b.Port) })
	dropped = slices.ContainsFunc(results, func(r reconcile.CheckResult) bool { return r.Verdict == "drop" })
	return dropped, c.printCheck(results, port != nil)
}

// question reads what is asked: one address and perhaps a port.
func (c *call) question() (netip.Addr, *policy.Port, error) {
	if c.flags.NArg() != 1 {
		return netip.Addr{}, nil, &policy.InputError{What: "check needs one address", Hint: "xdpallow check 192.0.2.9 --port 443"}
	}
	text := c.flags.Args().First()
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		input := &policy.InputError{What: fmt.Sprintf("%q is not an address", text)}
		if prefix, e := netip.ParsePrefix(text); e == nil {
			input.Hint = typed(c.env, text, prefix.Addr().String())
		} else if err == nil {
			input.Hint = typed(c.env, text, addr.WithZone("").String())
		}
		return netip.Addr{}, nil, input
	}
	if !c.flags.IsSet("port") {
		return addr, nil, nil
	}
	port, err := policy.ParsePort(c.flags.String("port"))
	if err != nil {
		return netip.Addr{}, nil, &policy.InputError{What: err.Error(), Hint: "xdpallow check " + addr.String() + " --port tcp/443"}
	}
	return addr, &port, nil
}

// printCheck prints a line a port. In JSON one port is an object and every
// port an array, so that the shape depends on the question and not on the host.
func (c *call) printCheck(results []reconcile.CheckResult, one bool) error {
	if c.json {
		if one && len(results) == 1 {
			return c.printJSON(results[0])
		}
		return c.printJSON(slices.Concat([]reconcile.CheckResult{}, results))
	}
	if len(results) == 0 {
		c.note("no port is protected: every source passes")
	}
	for _, r := range results {
		if _, err := fmt.Fprintf(c.out, "%s to %s: %s\n", r.Address, r.Port, explain(r)); err != nil {
			return err
		}
	}
	return nil
}

func explain(r reconcile.CheckResult) string {
	text := r.Verdict + ", " + r.Reason
	switch {
	case r.Prefix == nil:
	case r.Reason == policy.ReasonExpired || r.Reason == policy.ReasonWrongService:
		text += " (" + strings.Join(short(r), ", ") + ")"
	default:
		text += " by " + r.Prefix.String()
		if r.Owner != "" {
			text += " (" + r.Owner + ")"
		}
	}
	if r.Verdict == "audit" {
		text += " (passes now, dropped under enforce)"
	}
	return text
}

// short is the entry that covers the source and falls short of listing it, and
// what it lacks.
func short(r reconcile.CheckResult) []string {
	words := []string{r.Prefix.String()}
	if r.Owner != "" {
		words = append(words, r.Owner)
	}
	if r.Reason == policy.ReasonExpired {
		return append(words, "ended "+moment(r.Until))
	}
	return append(words, "only for "+strings.Join(r.Services, " and "))
}
