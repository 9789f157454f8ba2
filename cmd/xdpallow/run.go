package main

// This file is `run`: it turns flags into options, and wrong ones into
// answers, before anything is touched.

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// options is what run was told, checked as far as that goes without looking
// at the host.
type options struct {
	Interfaces []string      // sorted, each once
	Ports      []policy.Port // sorted, each once
	Allow      []string      // prefixes, parsed once already
	AllowFiles []string      // absolute files and directories
	Mode       policy.Mode
	Scope      policy.Scope
	Attach     string // "auto", "native", "generic"
	State      string // absolute, as are the next two
	Bpffs      string
	Socket     string
	Metrics    string // host:port, "" is off
	Force      policy.Force
	DryRun     bool
	LogFormat  string // "text", "json"
}

func runCommand(e env) *cli.Command {
	return e.command("run", "Protect ports on interfaces until told to stop", "", []cli.Flag{
		&cli.StringSliceFlag{Name: "interface", Usage: "protect `IF`, repeated or with commas"},
		&cli.StringSliceFlag{Name: "port", Usage: "protect `PORT` as N, tcp/N or udp/N, repeated or with commas"},
		&cli.StringSliceFlag{Name: "allow", Usage: "let `PREFIX` open connections, repeated or with commas"},
		&cli.StringSliceFlag{Name: "allow-file", Usage: "let the prefixes in `FILE|DIR` open connections, repeated or with commas"},
		&cli.StringFlag{Name: "mode", Value: string(policy.Enforce), Usage: "`MODE` enforce, or audit to count and drop nothing"},
		&cli.StringFlag{Name: "drop", Value: string(policy.ScopeSYN), Usage: "drop `SCOPE` from unlisted sources: syn, their openings"},
		&cli.StringFlag{Name: "attach", Value: "auto", Usage: "attach by `HOW`: auto, native or generic"},
		&cli.PathFlag{Name: "state", Value: defaultState, Usage: "state `DIR`"},
		&cli.PathFlag{Name: "bpffs", Value: defaultBpffs, Usage: "pin root `DIR`"},
		&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `ADDR`, as 127.0.0.1:9100; off without it"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "enforce a list that lets nobody connect"},
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes"},
		&cli.BoolFlag{Name: "dry-run", Usage: "show what would change and change nothing"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "log as `FORMAT`: text or json"},
	}, func(ctx context.Context, c *call) error {
		o, err := c.options()
		if err != nil {
			return err
		}
		return c.daemon(ctx, c, o)
	})
}

// options reads the flags.
func (c *call) options() (options, error) {
	f := c.flags
	o := options{
		Allow:     f.StringSlice("allow"),
		Mode:      policy.Mode(f.String("mode")),
		Scope:     policy.Scope(f.String("drop")),
		Attach:    f.String("attach"),
		Metrics:   f.String("metrics"),
		DryRun:    f.Bool("dry-run"),
		LogFormat: f.String("log-format"),
		Force: policy.Force{
			AllowEmpty: f.Bool("allow-empty"), AllowAny: f.Bool("allow-any"), ForceShrink: f.Bool("force-shrink"),
		},
	}
	if !f.IsSet("interface") || !f.IsSet("port") {
		return o, &policy.InputError{
			What: "run needs --interface and --port",
			Hint: "xdpallow run --interface eth0 --port 443 --allow 192.0.2.0/24",
		}
	}
	if err := choices(f); err != nil {
		return o, err
	}
	var err error
	if o.Interfaces, err = interfaceNames(f.StringSlice("interface")); err != nil {
		return o, err
	}
	if o.Ports, err = ports(f.StringSlice("port")); err != nil {
		return o, err
	}
	for _, p := range o.Allow {
		if _, _, err := policy.ParsePrefix(p); err != nil {
			return o, c.corrected(p, err)
		}
	}
	if o.Metrics != "" {
		if _, port, err := net.SplitHostPort(o.Metrics); err != nil || port == "" {
			return o, &policy.InputError{What: fmt.Sprintf("--metrics %q is not HOST:PORT", o.Metrics), Hint: "xdpallow run --metrics 127.0.0.1:9100"}
		}
	}
	return o, o.places(f)
}

// choices checks the flags that take one of a few words.
func choices(f *cli.Context) error {
	for _, words := range [][]string{
		{"mode", string(policy.Enforce), string(policy.Audit)},
		{"drop", string(policy.ScopeSYN)},
		{"attach", "auto", "native", "generic"},
		{"log-format", "text", "json"},
	} {
		flag, allowed := words[0], words[1:]
		if value := f.String(flag); !slices.Contains(allowed, value) {
			return &policy.InputError{
				What: fmt.Sprintf("--%s %q is not %s", flag, value, strings.Join(allowed, " or ")),
				Hint: "xdpallow run --" + flag + " " + allowed[0],
			}
		}
	}
	return nil
}

// places makes the paths absolute: they are named in answers to commands that
// run in other directories.
func (o *options) places(f *cli.Context) (err error) {
	if o.State, err = absolute(f, "state"); err != nil {
		return err
	}
	if o.Bpffs, err = absolute(f, "bpffs"); err != nil {
		return err
	}
	if o.Socket, err = absolute(f, "socket"); err != nil {
		return err
	}
	for _, file := range f.StringSlice("allow-file") {
		path, err := filepath.Abs(file)
		if err != nil {
			return fmt.Errorf("find %s: %w", file, err)
		}
		o.AllowFiles = append(o.AllowFiles, path)
	}
	return nil
}

func absolute(f *cli.Context, flag string) (string, error) {
	if f.Path(flag) == "" {
		return "", &policy.InputError{What: "--" + flag + " is empty"}
	}
	path, err := filepath.Abs(f.Path(flag))
	if err != nil {
		return "", fmt.Errorf("find --%s: %w", flag, err)
	}
	return path, nil
}

func ports(texts []string) ([]policy.Port, error) {
	var ports []policy.Port
	for _, text := range texts {
		port, err := policy.ParsePort(text)
		if err != nil {
			return nil, &policy.InputError{What: err.Error(), Hint: "xdpallow run --port tcp/443"}
		}
		ports = append(ports, port)
	}
	slices.SortFunc(ports, policy.ComparePort)
	return slices.Compact(ports), nil
}

// interfaceNames sorts names and refuses what the kernel would never call an
// interface; whether one is there is a question for later, they come and go.
func interfaceNames(names []string) ([]string, error) {
	for _, name := range names {
		if name == "" || name == "." || name == ".." || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/: \t\n") {
			return nil, &policy.InputError{What: fmt.Sprintf("%q is not the name of an interface", name), Hint: "ip -br link"}
		}
	}
	sorted := slices.Sorted(slices.Values(names))
	return slices.Compact(sorted), nil
}
