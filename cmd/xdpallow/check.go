package main

// This file is `check`: what happens to a source that connects now? Its exit
// codes are grep's: 0 passes, 1 dropped, 2 for all that is no answer.

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func checkCommand(e env) *cli.Command {
	return e.command("check", "Tell what happens to a source that connects, and why", "ADDR", append([]cli.Flag{
		&cli.StringFlag{Name: "port", Usage: "`PORT` as N, tcp/N or udp/N; every protected port without it"},
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "check the addresses in `FILE`, one a line, or the first address of a prefix; - is stdin"},
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
	addrs, err := c.sources()
	if err != nil {
		return false, err
	}
	var port *policy.Port
	if c.flags.IsSet("port") {
		p, err := policy.ParsePort(c.flags.String("port"))
		if err != nil {
			return false, &policy.InputError{What: err.Error(), Hint: "xdpallow check " + addrs[0].String() + " --port tcp/443"}
		}
		port = &p
	}
	results, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) ([]api.CheckResult, error) {
		return from.Check(ctx, addrs, port)
	})
	if err != nil {
		return false, err
	}
	if len(addrs) == 1 {
		slices.SortStableFunc(results, func(a, b api.CheckResult) int { return policy.ComparePort(a.Port, b.Port) })
	}
	dropped = slices.ContainsFunc(results, func(r api.CheckResult) bool { return r.Verdict == "drop" })
	return dropped, c.printCheck(results, port != nil && !c.flags.IsSet("file"))
}

// sources are the addresses that are asked about.
func (c *call) sources() ([]netip.Addr, error) {
	if c.flags.IsSet("file") {
		if c.flags.NArg() > 0 {
			return nil, &policy.InputError{What: "check needs an address or -f, not both", Hint: "xdpallow check -f addresses.txt"}
		}
		return c.sourcesIn(c.flags.String("file"))
	}
	if c.flags.NArg() != 1 {
		return nil, &policy.InputError{What: "check needs one address, or -f FILE", Hint: "xdpallow check 192.0.2.9 --port 443"}
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
		return nil, input
	}
	return []netip.Addr{addr}, nil
}

// sourcesIn reads a file of addresses, or stdin. It takes what `add -` takes; of a prefix the
// first address is checked. What follows on a line is not read, so that a log that begins
// with addresses will do. All mistakes are told.
func (c *call) sourcesIn(path string) (addrs []netip.Addr, err error) {
	in, name := c.stdin, "stdin"
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, &policy.InputError{What: err.Error()}
		}
		defer file.Close()
		in, name = file, path
	}
	var bad []error
	prefixes := 0
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if err := policy.CheckUTF8(name, line); err != nil {
			return nil, err
		}
		text, _, _ := strings.Cut(string(line), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		addr, err := source(words[0])
		if err != nil {
			err.Where = fmt.Sprintf("%s:%d", name, n)
			bad = append(bad, err)
			continue
		}
		if strings.Contains(words[0], "/") {
			prefixes++
		}
		addrs = append(addrs, addr)
	}
	if err := errors.Join(append(bad, lines.Err())...); err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &policy.InputError{What: name + ": no address in it"}
	}
	if prefixes > 0 {
		c.note("of %s the first address is checked", policy.Count(prefixes, "prefix", "prefixes"))
	}
	return addrs, nil
}

// source reads an address, or a prefix as its first address.
func source(word string) (netip.Addr, *policy.InputError) {
	if addr, err := netip.ParseAddr(word); err == nil && addr.Zone() == "" {
		return addr, nil
	}
	prefix, _, err := policy.ParsePrefix(word)
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		return netip.Addr{}, input
	}
	return prefix.Addr(), nil
}

// printCheck prints a line a port. In JSON one address and port is an object and all
// else an array, so that the shape depends on the question and not on the host.
func (c *call) printCheck(results []api.CheckResult, one bool) error {
	if c.json {
		if one && len(results) == 1 {
			return c.printJSON(results[0])
		}
		return c.printJSON(slices.Concat([]api.CheckResult{}, results))
	}
	if len(results) == 0 {
		c.note("no port is protected: every source passes")
	}
	out := bufio.NewWriter(c.out)
	for rest := results; len(rest) > 0; {
		r, ports := rest[0], []policy.Port{rest[0].Port}
		for len(ports) < len(rest) && rest[len(ports)].Address == r.Address && explain(rest[len(ports)]) == explain(r) {
			ports = append(ports, rest[len(ports)].Port)
		}
		for _, text := range policy.PortRanges(ports) { // of a range with one answer a line is enough
			fmt.Fprintf(out, "%s to %s: %s\n", r.Address, text, explain(r))
		}
		rest = rest[len(ports):]
	}
	if !c.flags.IsSet("file") && len(results) > 0 {
		if line := limited(results); line != "" {
			fmt.Fprintf(out, "  %s\n", line)
		}
		for _, line := range around(results[len(results)-1]) {
			fmt.Fprintf(out, "  %s\n", line)
		}
	}
	if err := out.Flush(); err != nil { // the first error of the writes above
		return err
	}
	if hint := c.again(results); hint != "" {
		c.note("hint: %s", hint)
	}
	return nil
}

// limited names the limit on the openings of the one source that was asked about, or "".
func limited(results []api.CheckResult) string {
	for _, r := range results {
		if r.Limit != nil && slices.Contains([]string{policy.ReasonListed, "rate_limited"}, r.Reason) {
			return fmt.Sprintf("%s is limited to %s", cmp.Or(r.CountsFor, r.Owner), describeLimit(r.Limit))
		}
	}
	return ""
}

// around is what else there is to know of a source that does not get in: a customer
// says that he is dropped.
func around(r api.CheckResult) (lines []string) {
	if r.Verdict == "pass" {
		return nil
	}
	if s := r.Suspension; s != nil && r.Reason == policy.ReasonSuspended {
		lines = append(lines, s.Subject+" is suspended "+describeSuspension(*s))
	}
	for _, e := range r.Covering {
		if r.Prefix == nil || e.Prefix != *r.Prefix {
			lines = append(lines, "also covered by "+whose(e.Prefix, e.Owner)+": "+e.Reason)
		}
	}
	for _, e := range r.Nearest {
		line := fmt.Sprintf("near %s, in the same /%d", whose(e.Prefix, e.Owner), e.Within.Bits())
		switch e.Reason {
		case policy.ReasonExpired:
			line += ", ended"
		case policy.ReasonSuspended:
			line += ", suspended"
		}
		lines = append(lines, line)
	}
	return lines
}

// again is the command that lets the one source that was asked about in again, if it
// stands on the list; else "".
func (c *call) again(results []api.CheckResult) string {
	if len(results) == 0 || c.flags.IsSet("file") {
		return ""
	}
	switch r := results[len(results)-1]; {
	case r.Verdict == "pass":
	case r.Reason == policy.ReasonExpired && r.Prefix != nil:
		return c.withSocket("xdpallow add " + r.Prefix.String() + " --for 90d")
	case r.Reason == policy.ReasonSuspended && r.Suspension != nil:
		return c.withSocket("xdpallow resume " + r.Suspension.Subject)
	}
	return ""
}

func whose(prefix netip.Prefix, owner string) string {
	if owner == "" {
		return prefix.String()
	}
	return prefix.String() + " (" + owner + ")"
}

func explain(r api.CheckResult) string {
	text := r.Verdict + ", " + r.Reason
	switch {
	case r.Prefix == nil:
	case r.Reason == policy.ReasonExpired || r.Reason == policy.ReasonWrongService:
		text += " (" + strings.Join(short(r), ", ") + ")"
	default:
		text += " by " + whose(*r.Prefix, r.Owner)
	}
	if r.Verdict == "audit" {
		text += " (passes now, dropped under enforce)"
	}
	return text
}

// short is the entry that covers the source and falls short of listing it, and
// what it lacks.
func short(r api.CheckResult) []string {
	words := []string{r.Prefix.String()}
	if r.Owner != "" {
		words = append(words, r.Owner)
	}
	if r.Reason == policy.ReasonExpired {
		return append(words, "ended "+moment(r.Until))
	}
	return append(words, "only for "+strings.Join(r.Services, " and "))
}
