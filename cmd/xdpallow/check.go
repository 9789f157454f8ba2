package main

// This file is `check`: what happens to a source that connects now? Its exit
// codes are grep's: 0 passes, 1 dropped, 2 for all that is no answer.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
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
	show := checks{call: c, one: port != nil && !c.flags.IsSet("file")}
	_, err = daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (struct{}, error) {
		for some := range slices.Chunk(addrs, checkedAtOnce) {
			results, err := from.Check(ctx, some, port)
			if show.total > 0 && errors.Is(err, control.ErrNoDaemon) { // pins would answer all of them again
				err = fmt.Errorf("%d answers are here, and then %v", show.total, err)
			}
			if err != nil {
				return struct{}{}, err
			}
			if len(addrs) == 1 {
				slices.SortStableFunc(results, func(a, b api.CheckResult) int { return policy.ComparePort(a.Port, b.Port) })
			}
			if err := show.print(results); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, show.end()
	})
	return show.dropped, err
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
