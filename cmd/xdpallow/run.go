package main

// This file is `run`: it turns flags into options, and finds their mistakes before anything
// is touched.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/stored"
)

// options is what run was asked for, checked as far as possible without looking at the
// host.
type options struct {
	Config     string        // absolute, "" is none
	Interfaces []string      // sorted, each once; none only where Config cannot be read
	Ports      []policy.Port // sorted, each once; none where Config has services
	Allow      []string      // prefixes, parsed once already
	AllowFiles []string      // absolute files and directories
	Mode       policy.Mode
	Scope      policy.Scope
	Attach     string // "auto", "native", "generic", or "" where Config cannot be read
	Backstop   string // "on", "off", "" as it was
	State      string // absolute, as are the next two
	Bpffs      string
	Socket     string
	Metrics    string // host:port, "" is off
	WebConfig  string // of Metrics, absolute; "" is plain HTTP for everybody
	Owner      config.Owner
	Enrol      enrol.Settings // nil: nobody may, and there is no socket for it
	Force      policy.Force
	KeepEnded  time.Duration // 0 is the usual
	DryRun     bool
	LogFormat  string // "text", "json"

	BackstopTyped bool // Backstop is a flag, and no key of Config
}

func runCommand(e env) *cli.Command {
	return e.command("run", "Protect ports on interfaces until told to stop", "", []cli.Flag{
		&cli.PathFlag{Name: "config", Usage: "read `FILE`, see assets config; a flag wins over the same key"},
		&cli.StringSliceFlag{Name: "interface", Usage: "protect `IF`, repeated or with commas"},
		&cli.StringSliceFlag{Name: "port", Usage: "protect `PORT` as N, tcp/N, udp/N or a range as 30000-32767, repeated or with commas"},
		&cli.StringSliceFlag{Name: "allow", Usage: "let `PREFIX` open connections, repeated or with commas"},
		&cli.StringSliceFlag{Name: "allow-file", Usage: "let the prefixes in `FILE|DIR` open connections, repeated or with commas"},
		&cli.StringFlag{Name: "mode", Value: string(policy.Enforce), Usage: "`MODE` enforce, or audit to count and drop nothing"},
		&cli.StringFlag{Name: "drop", Value: string(policy.ScopeSYN), Usage: "drop `SCOPE` from unlisted sources: syn, their openings; stray, also segments without a socket; strict, everything"},
		&cli.StringFlag{Name: "attach", Value: "auto", Usage: "attach by `HOW`: auto, native or generic"},
		&cli.StringFlag{Name: "backstop", Value: "on", Usage: "refuse unlisted sources at the socket, too: `on|off`"},
		&cli.PathFlag{Name: "state", Value: defaultState, Usage: "state `DIR`"},
		&cli.PathFlag{Name: "bpffs", Value: defaultBpffs, Usage: "pin root `DIR`"},
		&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `ADDR`, as 127.0.0.1:9463; off without it"},
		&cli.PathFlag{Name: "web.config.file", Usage: "serve metrics with the TLS and passwords in `FILE`, as Prometheus exporters have it"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "enforce a list that lets nobody connect"},
		allowOpenFlag(), cutSessionsFlag(),
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes"},
		&cli.StringFlag{Name: "keep-ended", Value: api.DefaultKeepEnded, Usage: "keep what add let in on the list for `DURATION` after its end"},
		&cli.BoolFlag{Name: "dry-run", Usage: "show what would change and change nothing"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "log as `FORMAT`: text or json"},
	}, func(ctx context.Context, c *call) error {
		o, err := c.options()
		if err != nil {
			return err
		}
		err = c.daemon(ctx, c, o)
		if mode, ok := errors.AsType[*loader.ModeError](err); ok {
			mode.Flags = o.elsewhere()
		}
		return err
	})
}

// elsewhere returns the flags with which another command finds the gate of this run, "" where
// it is at the default places. Without them that command would find another daemon, or none.
func (o *options) elsewhere() string {
	var flags []string
	for _, place := range [][3]string{
		{"--socket", o.Socket, defaultSocket}, {"--state", o.State, defaultState}, {"--bpffs", o.Bpffs, defaultBpffs},
	} {
		if flag, path, usual := place[0], place[1], place[2]; path != usual {
			flags = append(flags, flag, quote(path))
		}
	}
	return strings.Join(flags, " ")
}

// options reads the flags, and the config file where they do not say it.
func (c *call) options() (options, error) {
	f := c.flags
	o := options{
		Allow:  f.StringSlice("allow"),
		Mode:   policy.Mode(f.String("mode")),
		Scope:  policy.Scope(f.String("drop")),
		DryRun: f.Bool("dry-run"),
		Force:  forced(f),
	}
	if err := choices(f); err != nil {
		return o, err
	}
	var err error
	if o.Interfaces, err = interfaceNames(policy.ParseGuarded, f.StringSlice("interface")); err != nil {
		return o, err
	}
	if o.Ports, err = ports(f.StringSlice("port")); err != nil {
		return o, err
	}
	for _, p := range o.Allow {
		prefix, _, err := policy.ParsePrefix(p)
		if err != nil {
			return o, c.corrected(err, func(prefixes []string) string { return c.insteadOf(p, strings.Join(prefixes, ",")) })
		}
		c.warnOfPrefix(p, prefix, "") // the daemon's log has the other warning
	}
	if f.IsSet("keep-ended") {
		if o.KeepEnded, err = policy.ParseDuration(f.String("keep-ended")); err != nil {
			return o, c.retyped("keep-ended", f.String("keep-ended"), api.DefaultKeepEnded, err)
		}
	}
	if metrics := f.String("metrics"); metrics != "" {
		if _, port, err := net.SplitHostPort(metrics); err != nil || port == "" {
			return o, &policy.InputError{What: fmt.Sprintf("--metrics %q is not HOST:PORT", metrics), Hint: "xdpallow run --metrics 127.0.0.1:9463"}
		}
	}
	return o, o.mergeConfig(f)
}

// mergeConfig takes from the config file what no flag says, and checks that both together say
// enough, and nothing twice.
func (o *options) mergeConfig(f *cli.Context) error {
	var file config.File
	var broken error
	if f.IsSet("config") {
		var err error
		if o.Config, err = absolute("config", f.Path("config")); err != nil {
			return err
		}
		file, broken = config.Read(o.Config)
	}
	o.Backstop = setting(f, "backstop", file.Backstop)
	o.BackstopTyped = f.IsSet("backstop")
	o.LogFormat = setting(f, "log-format", file.LogFormat)
	o.Metrics = setting(f, "metrics", file.Metrics)
	o.Owner, o.Enrol = file.Owner, file.Enrol
	if !f.IsSet("keep-ended") {
		o.KeepEnded = file.KeepEnded
	}
	o.Attach = setting(f, "attach", file.Attach)
	if !f.IsSet("interface") {
		o.Interfaces = file.Interfaces
	}
	if err := o.places(f, file); err != nil {
		return err
	}
	if err := o.onceOnly(f, file); err != nil {
		return err
	}
	enough := len(o.Interfaces) > 0 && (len(o.Ports) > 0 || len(file.Services) > 0)
	if broken == nil && !enough {
		broken = o.missing()
	}
	// A bad file must not leave a gate that has a policy without its daemon: the engine
	// keeps the last good policy and reports the file.
	if broken != nil && (o.Config == "" || !stored.Recoverable(o.State)) {
		return broken
	}
	if broken != nil && !f.IsSet("attach") && file.Attach == "" {
		o.Attach = ""
	}
	if broken != nil && !f.IsSet("backstop") && file.Backstop == "" {
		o.Backstop = ""
	}
	return nil
}

// missing returns an error that names what neither flags nor config file say.
func (o *options) missing() error {
	switch {
	case o.Config == "":
		return &policy.InputError{
			What: "run needs --interface and --port, or --config",
			Hint: "xdpallow run --interface eth0 --port 443 --allow 192.0.2.0/24",
		}
	case len(o.Interfaces) == 0:
		return &policy.InputError{Where: o.Config, What: "no interface, so nothing would be protected", Hint: "xdpallow assets config"}
	}
	return &policy.InputError{Where: o.Config, What: "no service, so nothing would be protected", Hint: "xdpallow assets config"}
}

// onceOnly refuses --port, --mode and --drop beside services in the config file: it would not
// be clear to which service they apply.
func (o *options) onceOnly(f *cli.Context, file config.File) error {
	for _, flag := range []string{"port", "mode", "drop"} {
		if f.IsSet(flag) && len(file.Services) > 0 {
			return &policy.InputError{What: fmt.Sprintf("--%s beside the services of %s: set it there", flag, o.Config), Hint: "xdpallow assets config"}
		}
	}
	return nil
}

// setting returns the flag if it was given, else the key, else the flag's default.
func setting(f *cli.Context, flag, key string) string {
	if f.IsSet(flag) || key == "" {
		return f.String(flag)
	}
	return key
}

// choices checks the flags that take one of a few words.
func choices(f *cli.Context) error {
	for _, words := range [][]string{
		{"mode", string(policy.Enforce), string(policy.Audit)},
		{"drop", string(policy.ScopeSYN), string(policy.ScopeStray), string(policy.ScopeStrict)},
		{"attach", "auto", "native", "generic"},
		{"backstop", "on", "off"},
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

// places makes the paths absolute: answers name them to commands that run in other
// directories.
func (o *options) places(f *cli.Context, file config.File) (err error) {
	if o.WebConfig, err = webConfig(f, file); err != nil {
		return err
	}
	if o.State, err = absolute("state", setting(f, "state", file.State)); err != nil {
		return err
	}
	if o.Bpffs, err = absolute("bpffs", setting(f, "bpffs", file.Bpffs)); err != nil {
		return err
	}
	if o.Socket, err = absolute("socket", setting(f, "socket", file.Socket)); err != nil {
		return err
	}
	for _, name := range f.StringSlice("allow-file") {
		path, err := filepath.Abs(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		o.AllowFiles = append(o.AllowFiles, path)
	}
	return nil
}

func absolute(flag, value string) (string, error) {
	if value == "" {
		return "", &policy.InputError{What: "--" + flag + " is empty"}
	}
	path, err := filepath.Abs(value)
	if err != nil {
		return "", fmt.Errorf("find --%s: %w", flag, err)
	}
	return path, nil
}

func ports(texts []string) ([]policy.Port, error) {
	var ports []policy.Port
	for _, text := range texts {
		some, err := policy.ParsePorts(text)
		if err != nil {
			return nil, &policy.InputError{What: err.Error(), Hint: "xdpallow run --port tcp/443,tcp/30000-32767"}
		}
		ports = append(ports, some...)
	}
	slices.SortFunc(ports, policy.ComparePort)
	return slices.Compact(ports), nil
}

// interfaceNames checks names with parse, and sorts them.
func interfaceNames(parse func(string) error, names []string) ([]string, error) {
	for _, name := range names {
		if err := parse(name); err != nil {
			return nil, err
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}
