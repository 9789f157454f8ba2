package main

// This file is `fleet`: the commands on the list of many hosts. They speak with etcd themselves, and
// need no daemon.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/verbs"
)

const (
	fleetGroup    = "fleet"
	fleetVariable = "XDPALLOW_FLEET"
)

func fleetCommand(e env) *cli.Command {
	group := &cli.Command{
		Name:            fleetGroup,
		Usage:           "Change and show the list of many hosts, kept in etcd",
		HideHelpCommand: true,
		OnUsageError:    e.usageError,
		Subcommands: []*cli.Command{
			fleetInitCommand(e), fleetAddCommand(e), fleetRemoveCommand(e), fleetReplaceCommand(e), fleetListCommand(e),
			fleetSuspendCommand(e), fleetResumeCommand(e), fleetLimitCommand(e),
			fleetStatusCommand(e), fleetHistoryCommand(e), fleetDiffCommand(e),
			fleetConfirmCommand(e), fleetRollbackCommand(e), fleetForgetCommand(e),
		},
	}
	var names []string
	for _, sub := range group.Subcommands {
		names = append(names, sub.Name)
	}
	group.Action = func(c *cli.Context) error {
		if c.NArg() == 0 {
			return cli.ShowSubcommandHelp(c)
		}
		typedName := c.Args().First()
		refusal := &policy.InputError{What: "unknown command " + quoted(fleetGroup+" "+typedName), Hint: "xdpallow fleet --help"}
		if meant := cmp.Or(nearest(typedName, names), habits[typedName]); slices.Contains(names, meant) {
			refusal.Hint = retyped(e, typedName, meant)
		}
		return refusal
	}
	return group
}

// fleetFlags are the flags of every command on a fleet's list.
func fleetFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.PathFlag{Name: "config", EnvVars: []string{fleetVariable}, Usage: "`FILE` whose origins have the fleet in etcd, with the operator's certificate"},
		&cli.StringFlag{Name: "fleet", Usage: "`NAME` of the origin, where the file has several in etcd"},
		&cli.StringFlag{Name: "list", Value: fleet.Main, Usage: "`LIST` of the fleet"},
	)
}

// fleetCall is one command on a list of a fleet.
type fleetCall struct {
	*call
	client *fleet.Client
	fleet  string // its name in etcd
	list   string
}

// onFleet makes act the action of a command: with a client, and with hints at the fleet's commands.
func onFleet(act func(ctx context.Context, c *fleetCall) error) func(ctx context.Context, c *call) error {
	return func(ctx context.Context, c *call) error {
		where, err := c.fleetConfig()
		if err != nil {
			return err
		}
		list := c.flags.String("list")
		if err := policy.ParseName("list", list); err != nil {
			return err
		}
		client, err := fleet.Dial(where)
		if err != nil {
			return err
		}
		defer client.Close()
		return ofFleet(act(ctx, &fleetCall{call: c, client: client, fleet: where.Fleet, list: list}))
	}
}

// fleetConfig reads where the fleet is.
func (c *call) fleetConfig() (fleet.Config, error) {
	path := c.flags.Path("config")
	if path == "" {
		return fleet.Config{}, &policy.InputError{
			What: "no config file says where the fleet is",
			Hint: typed(c.env) + " --config fleet.yaml",
		}
	}
	file, err := config.Read(path)
	if err != nil {
		return fleet.Config{}, err
	}
	wanted := c.flags.String("fleet")
	var found []fleet.Config
	var names []string
	for _, s := range file.Origins {
		if s.Etcd != nil && !slices.Contains(names, s.Name) && (wanted == "" || wanted == s.Name) {
			found, names = append(found, fleet.ConfigOf(s)), append(names, s.Name)
		}
	}
	switch len(found) {
	case 0:
		return fleet.Config{}, &policy.InputError{Where: path, What: strings.TrimSpace("has no origin in etcd " + wanted), Hint: "xdpallow assets config"}
	case 1:
		return found[0], nil
	}
	return fleet.Config{}, &policy.InputError{Where: path, What: "has several origins in etcd: " + strings.Join(names, ", "), Hint: typed(c.env) + " --fleet " + names[0]}
}

// ofFleet has the hint of err, which is of the same command on one host, name the fleet's.
func ofFleet(err error) error {
	local := func(hint string) string {
		for _, name := range []string{"add", "remove", "list", "resume", "limit"} {
			hint = strings.ReplaceAll(hint, "xdpallow "+name+" ", "xdpallow fleet "+name+" ")
		}
		return strings.ReplaceAll(hint, "xdpallow check ", "xdpallow fleet list ")
	}
	if refused, ok := errors.AsType[*policy.Refused](err); ok {
		return &policy.Refused{What: refused.What, Hint: local(refused.Hint)}
	}
	if input, ok := err.(*policy.InputError); ok {
		return &policy.InputError{Where: input.Where, What: input.What, Hint: local(input.Hint)}
	}
	return err
}

// by is who changes the list, as he says himself.
func (c *call) by() string {
	name := strconv.Itoa(c.uid)
	if c.loginUID != nil { // who had logged in, before sudo
		name = strconv.FormatUint(uint64(*c.loginUID), 10)
	}
	if known, err := user.LookupId(name); err == nil {
		name = known.Username
	}
	return name + "@" + hostName()
}

// hostName is how a fleet knows this host, unless its certificate names it.
func hostName() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "unknown")
}

// reportOf is what a fleet hears of how it goes on this host.
func reportOf(engine *verbs.Engine) fleet.Report {
	status, err := engine.Snapshot(context.Background())
	if err != nil {
		return fleet.Report{Problems: []string{}}
	}
	r := fleet.Report{Enforcing: "no", Generation: status.Generation, Prefixes: status.Entries, Problems: []string{}}
	if status.Enforcing {
		r.Enforcing = "yes"
	}
	for _, p := range status.Problems {
		if !slices.Contains(r.Problems, p.Code) {
			r.Problems = append(r.Problems, p.Code)
		}
	}
	return r
}

// ownersSeen is when owners last opened a connection to this host.
func ownersSeen(engine *verbs.Engine) map[string]time.Time {
	owners, _ := engine.Owners(context.Background()) // what cannot be counted now is told later
	seen := map[string]time.Time{}
	for _, o := range owners.Owners {
		if o.LastSeen != nil {
			seen[o.Owner] = o.LastSeen.UTC().Truncate(time.Second)
		}
	}
	return seen
}

func fleetInitCommand(e env) *cli.Command {
	return e.command("fleet init", "Begin a fleet, and print the roles that etcd needs for it", "", fleetFlags(), onFleet(fleetInit))
}

func fleetInit(ctx context.Context, c *fleetCall) error {
	id, made, err := c.client.Init(ctx)
	if err != nil {
		return err
	}
	prefix := c.client.Prefix()
	roles := []string{
		"etcdctl role add xdpallow-host",
		"etcdctl role grant-permission xdpallow-host --prefix=true read " + prefix,
		"etcdctl role grant-permission xdpallow-host --prefix=true readwrite " + prefix + "host/",
		"etcdctl role grant-permission xdpallow-host --prefix=true readwrite " + prefix + "known/",
		"etcdctl role add xdpallow-operator",
		"etcdctl role grant-permission xdpallow-operator --prefix=true readwrite " + prefix,
	}
	if c.json {
		return c.printJSON(map[string]any{"fleet": c.fleet, "id": id, "made": made, "roles": roles})
	}
	what := "has begun"
	if !made {
		what = "is there"
	}
	fmt.Fprintf(c.out, "fleet %s %s: %s\n", c.fleet, what, id)
	fmt.Fprintln(c.out, "# roles, unless etcd has them; each host is a user named as its certificate:")
	for _, line := range roles {
		fmt.Fprintln(c.out, line)
	}
	fmt.Fprintln(c.out, "# then, for a host web1: etcdctl user add web1 --no-password; etcdctl user grant-role web1 xdpallow-host")
	return nil
}

func fleetForgetCommand(e env) *cli.Command {
	return e.command("fleet forget", "Take a host that is gone for good off fleet status", "HOST", fleetFlags(), onFleet(func(ctx context.Context, c *fleetCall) error {
		if c.flags.NArg() != 1 {
			return &policy.InputError{What: "fleet forget needs one host", Hint: "xdpallow fleet status"}
		}
		host := c.flags.Args().First()
		found, err := c.client.Forget(ctx, host)
		if err != nil {
			return err
		}
		if !found {
			return &policy.Refused{What: "no host of the fleet is " + quoted(host), Hint: "xdpallow fleet status"}
		}
		if c.json {
			return c.printJSON(map[string]string{"forgot": host})
		}
		_, err = fmt.Fprintf(c.out, "forgot %s\n", host)
		return err
	}))
}
