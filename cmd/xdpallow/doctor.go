package main

// This file is `doctor`, which tells an operator what to know about this host before `run` and
// after. It changes nothing, except with --try.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/doctor"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/stored"
)

// defaultConfig is the config file that the unit names.
const defaultConfig = "/etc/xdpallow/config.yaml"

// errProblems is doctor's answer "there are problems": an exit code, and no message.
var errProblems = errors.New("problems")

func doctorCommand(e env) *cli.Command {
	return e.command("doctor", "Tell what to know about this host before run, and after", "", append([]cli.Flag{
		&cli.StringSliceFlag{Name: "interface", Usage: "look at `IF`, repeated or with commas (default: those of the daemon, else of the config, else all)"},
		&cli.StringSliceFlag{Name: "port", Usage: "look at `PORT` as N, tcp/N, udp/N or a range, repeated or with commas (default: those of the daemon, else of the config)"},
		&cli.PathFlag{Name: "config", Usage: "read `FILE` (default: " + defaultConfig + ", if it is there)"},
		&cli.BoolFlag{Name: "try", Usage: "attach a program that passes everything to interfaces without one, and take it off at once; some drivers reset the link"},
	}, offlineFlags()...), diagnose)
}

// diagnosis is doctor's answer with -o json.
type diagnosis struct {
	Problems int           `json:"problems"`
	Notes    int           `json:"notes"`
	Lines    []doctor.Line `json:"lines"` // problems, then notes, each by subject
}

func diagnose(ctx context.Context, c *call) error {
	o, err := c.doctorOptions(ctx)
	if err != nil {
		return err
	}
	if o.Try {
		c.note("trying native XDP on interfaces without a program; some drivers reset the link for it")
	}
	answer := diagnosis{Lines: doctor.Diagnose(c.examine(o))}
	for i, line := range answer.Lines {
		switch line.State {
		case doctor.Problem:
			answer.Problems++
		case doctor.Note:
			answer.Notes++
		}
		if line.Hint == doctor.AsRoot {
			answer.Lines[i].Hint = "sudo " + typed(c.env)
		}
		answer.Lines[i].Hint = c.withSocket(answer.Lines[i].Hint)
	}
	if c.json {
		err = c.printJSON(answer)
	} else {
		err = c.printLines(answer.Lines)
	}
	if err == nil && answer.Problems > 0 {
		return errProblems
	}
	return err
}

// doctorOptions finds out what this host guards or will guard: from flags, else from the gate
// that is up, else from the config file.
func (c *call) doctorOptions(ctx context.Context) (o doctor.Options, err error) {
	f := c.flags
	o = doctor.Options{Groups: []string{control.ReadGroup, control.AdminGroup}, Try: f.Bool("try")}
	if o.Interfaces, err = interfaceNames(policy.ParseInterface, f.StringSlice("interface")); err != nil {
		return o, err
	}
	asked, err := ports(f.StringSlice("port"))
	if err != nil {
		return o, err
	}
	var file config.File
	if o.Config, err = c.configPath(); err != nil {
		return o, err
	}
	if o.Config != "" {
		file, o.ConfigErr = readConfig(o.Config)
	}
	places := options{}
	if err := places.places(f, file); err != nil {
		return o, err
	}
	o.State, o.Root, o.Attach = places.State, places.Bpffs, loader.Mode(file.Attach)
	o.Status, o.StatusErr = c.statusAt(ctx, places)
	o.NoBackstop = file.Backstop == "off" && !stored.HadBackstop(o.State) // a start keeps what it had
	if o.Status != nil {
		if d := o.Status.Daemon; d != nil && d.Bpffs != "" { // another place has nothing to do with its gate
			o.Root, o.Asked = d.Bpffs, o.Root
		}
		o.NoBackstop = o.Status.Backstop == nil
		if len(o.Interfaces) == 0 {
			for _, i := range o.Status.Interfaces {
				o.Interfaces = append(o.Interfaces, i.Name)
			}
		}
		for _, s := range o.Status.Services {
			o.Services = append(o.Services, s.Service)
		}
	}
	if len(o.Interfaces) == 0 {
		o.Interfaces = file.Interfaces
	}
	if len(o.Services) == 0 {
		o.Services = file.Services
	}
	if len(asked) > 0 {
		o.Services, err = policy.NewServices([]policy.Service{{Name: policy.DefaultService, Ports: asked, Mode: policy.Enforce, Scope: policy.ScopeSYN}})
	}
	return o, err
}

// configPath returns the config file to read: the one that was named, or the one of the unit
// if it exists; "" is none.
func (c *call) configPath() (string, error) {
	if c.flags.IsSet("config") {
		return absolute("config", c.flags.Path("config"))
	}
	if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return defaultConfig, nil
}

// readConfig is config.Read, but where the caller may not read the file it says so, which is
// no mistake in the file.
func readConfig(path string) (config.File, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return config.File{}, err
	}
	if err == nil {
		file.Close()
	}
	return config.Read(path)
}

// statusAt asks the daemon, or pins and state when no daemon answers. It returns nil where
// there is neither.
func (c *call) statusAt(ctx context.Context, at options) (*api.Status, error) {
	client := control.NewClient(at.Socket)
	client.Waiting = c.awaited
	status, err := client.Status(ctx)
	if errors.Is(err, control.ErrNoDaemon) {
		status, err = c.offline(at.Bpffs, at.State).Status(ctx)
	}
	switch {
	case errors.Is(err, loader.ErrNoPins):
		return nil, nil
	case errors.Is(err, control.ErrForbidden):
		return nil, fmt.Errorf("%w: %w", err, fs.ErrPermission)
	case err != nil:
		return nil, err
	}
	return &status, nil
}

// printLines prints lines for a screen of 80 columns. Text is wrapped in its column; a command
// has a line of its own and is never wrapped, so that it can be pasted.
func (c *call) printLines(lines []doctor.Line) error {
	const most, states = 20, 9 // columns of a subject, and of a state with its blanks
	subjects := len("SUBJECT")
	for _, line := range lines {
		if n := utf8.RuneCountInString(line.Subject); n <= most {
			subjects = max(subjects, n)
		}
	}
	indent := subjects + 2 + states
	var screen strings.Builder
	fmt.Fprintf(&screen, "%-*s  %-*s%s\n", subjects, "SUBJECT", states, "STATE", "TEXT")
	for _, line := range lines {
		subject := policy.Printable(cmp.Or(line.Subject, "-"))
		if utf8.RuneCountInString(subject) > most {
			screen.WriteString(subject + "\n")
			subject = ""
		}
		fmt.Fprintf(&screen, "%-*s  %-*s%s\n", subjects, subject, states, line.State, folded(policy.Printable(line.Text), indent, helpWidth))
		for command := range strings.SplitSeq(line.Hint, "; ") {
			if command != "" {
				fmt.Fprintf(&screen, "  -> %s\n", policy.Printable(command))
			}
		}
	}
	_, err := fmt.Fprint(c.out, screen.String())
	return err
}
