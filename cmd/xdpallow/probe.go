package main

// This file is `probe`, which finds out whether a customer forwards strangers to this host.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/probing"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/probe"
)

func probeCommand(e env) *cli.Command {
	return e.command("probe", "Find out whether an owner forwards strangers to this host, by knocking at his addresses", "OWNER", []cli.Flag{
		&cli.StringSliceFlag{Name: "ports", Usage: "knock at `N`, repeated or with commas (default: the TCP ports of the service)"},
		&cli.StringFlag{Name: "service", Usage: "as a client of service `S` would, by its host in the config file"},
		&cli.BoolFlag{Name: "http", Usage: "send a request, and not only a TLS ClientHello: for proxies that connect when one comes"},
		&cli.BoolFlag{Name: "https", Usage: "the same inside TLS"},
		&cli.IntFlag{Name: "knocks", Value: probe.DefaultKnocks, Usage: "knock `N` times at each address"},
		&cli.BoolFlag{Name: "yes", Usage: "do not ask"},
		reasonFlag(),
	}, probeOwner)
}

// errForwards is probe's answer "somebody forwards": an exit code, and no message.
var errForwards = errors.New("forwards")

func probeOwner(ctx context.Context, c *call) error {
	if c.flags.NArg() != 1 {
		return &policy.InputError{What: "probe needs one owner", Hint: "xdpallow probe acme"}
	}
	owner, knocks, kind := c.flags.Args().First(), c.flags.Int("knocks"), probing.TLS
	ports, err := c.probePorts()
	switch {
	case err != nil:
		return err
	case knocks < probe.LeastKnocks || knocks > probe.MostKnocks:
		return &policy.InputError{What: fmt.Sprintf("--knocks %d is not from %d to %d", knocks, probe.LeastKnocks, probe.MostKnocks), Hint: "xdpallow probe acme --knocks 10"}
	case c.flags.Bool("http") && c.flags.Bool("https"):
		return &policy.InputError{What: "--http and --https are two probes", Hint: "xdpallow probe " + quote(owner) + " --https"}
	case c.flags.Bool("http"):
		kind = probing.HTTP
	case c.flags.Bool("https"):
		kind = probing.HTTPS
	}
	if err := c.owner(owner); err != nil {
		return err
	}
	asked, err := control.Probe.Ask(ctx, c.client(), api.ProbeRequest{Owner: owner, DryRun: true})
	if err != nil {
		return err
	}
	service, err := c.probedService(asked.Services)
	if err != nil {
		return err
	}
	if ports == nil {
		ports = service.Ports
	}
	plan, err := probing.PlanOf(asked, service, ports, kind, knocks)
	if err != nil {
		return err
	}
	if err := c.agreedToProbe(plan, asked.Networks); err != nil {
		return err
	}
	if _, err := control.Probe.Ask(ctx, c.client(), api.ProbeRequest{Owner: owner}); err != nil {
		return err
	}
	done := c.progress().waiting("probing " + owner)
	result, err := plan.Run(ctx, control.NewClient(c.flags.Path("socket")))
	done()
	if err != nil {
		return fmt.Errorf("probe %s: nobody is judged: %w", owner, err)
	}
	return c.printProbe(result)
}

// probePorts returns the ports of --ports, sorted; nil leaves them to the service.
func (c *call) probePorts() (ports []uint16, err error) {
	for _, text := range c.flags.StringSlice("ports") {
		port, err := policy.ParsePort(strings.TrimSpace(text))
		if err != nil || port.Protocol != policy.TCP {
			return nil, &policy.InputError{What: fmt.Sprintf("--ports %.64q is not a TCP port, from 1 to 65535", text), Hint: "xdpallow probe acme --ports 443,8443"}
		}
		ports = append(ports, port.Number)
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// probedService returns the service whose client the probe is.
func (c *call) probedService(services []api.ProbeService) (api.ProbeService, error) {
	name := c.flags.String("service")
	var names []string
	for _, s := range services {
		if s.Name == name || name == "" && len(services) == 1 {
			return s, nil
		}
		names = append(names, s.Name)
	}
	what := "a probe is a client of one service, of " + strings.Join(names, ", ")
	if name != "" {
		what = "no service " + name + " with a TCP port; there are " + strings.Join(names, ", ")
	}
	return api.ProbeService{}, &policy.InputError{What: what, Hint: "xdpallow probe " + c.flags.Args().First() + " --service " + names[0]}
}

// agreedToProbe says to whom the probe sends how much, and asks on a terminal.
func (c *call) agreedToProbe(p probing.Plan, networks int) error {
	if p.LeftOut > 0 {
		c.note("warning: %s more of %s are left out of this probe", policy.Count(p.LeftOut, "address", "addresses"), p.Owner)
	}
	if networks > 0 {
		c.note("warning: of %s only who is connected now is known", policy.Count(networks, "network", "networks"))
	}
	if p.Service.Host == "" {
		c.note("warning: service %s has no host in the config file: a proxy that goes by names is not seen", p.Service.Name)
	}
	switch what := p.String(); {
	case c.flags.Bool("yes"):
		c.note("%s", what)
		return nil
	case !c.terminal:
		return &policy.InputError{What: what + ", and nobody is here to ask", Hint: typed(c.env) + " --yes"}
	case c.confirmed(what + ": probe?"):
		return nil
	}
	return &policy.Refused{What: "nothing was probed"}
}

// printProbe prints what a probe found, and fails if somebody forwards.
func (c *call) printProbe(r api.ProbeResult) error {
	rows, count := probing.Rows(r)
	if c.json {
		if err := c.printJSON(r); err != nil {
			return err
		}
	} else {
		if len(rows) > 0 {
			_ = table(c.out, 0, slices.Values(slices.Insert(rows, 0, []string{"ADDRESS", "PORT", "ANSWER", "FOLLOWED", "FROM"})))
		}
		if closed := count[probe.Closed]; closed > 0 {
			fmt.Fprintf(c.out, "closed: %d of %d\n", closed, len(r.Targets))
		}
	}
	if r.Path != "" {
		c.note("to see who forwarded it, look for %s in the log of the API", r.Path)
	}
	if count[probe.Inconclusive] > 0 {
		c.note("warning: %s opened connections in %d of %d windows without a knock: probe again at a quiet hour, or with more --knocks", r.Owner, r.Busy, r.Quiet)
	}
	if count[probe.Forwards] > 0 {
		return errForwards
	}
	return nil
}
