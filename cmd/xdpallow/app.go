package main

// This file is the table of commands, and what all commands share.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// The places where commands look without flags: a contract, as units and scripts name them.
const (
	defaultSocket = "/run/xdpallow/xdpallow.sock"
	defaultState  = "/var/lib/xdpallow"
	defaultBpffs  = "/sys/fs/bpf/xdpallow"
)

// newApp builds the command line. Nothing in it exits, and it prints only to e.
func newApp(e env) *cli.App {
	app := &cli.App{
		Name:            "xdpallow",
		Usage:           "Let only known source prefixes open connections to the ports of an API",
		HideVersion:     true, // version is a command
		HideHelpCommand: true, // its errors exit with 3; commandFirst makes `help add` --help
		UsageText:       "xdpallow [global options] COMMAND [command options] [arguments]\nxdpallow help COMMAND",
		Writer:          e.stdout,
		ErrWriter:       e.stderr,
		Commands: []*cli.Command{
			runCommand(e), addCommand(e), removeCommand(e), replaceCommand(e), reloadCommand(e),
			confirmCommand(e), rollbackCommand(e), modeCommand(e),
			suspendCommand(e), resumeCommand(e), limitCommand(e), cutCommand(e), ownersCommand(e), probeCommand(e),
			exportCommand(e), importCommand(e), fleetCommand(e),
			listCommand(e), checkCommand(e), statusCommand(e), doctorCommand(e), statsCommand(e), historyCommand(e), eventsCommand(e), topCommand(e),
			enrolCommand(e), detachCommand(e), assetsCommand(e), completionCommand(e), demoCommand(e), versionCommand(e),
		},
		// Only for help: commandFirst has moved those that were typed behind the command.
		Flags: []cli.Flag{
			socketFlag(),
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version", DisableDefaultText: true},
		},
		OnUsageError:   e.usageError,
		ExitErrHandler: func(*cli.Context, error) {}, // exitCode decides, once
	}
	app.Action = func(c *cli.Context) error {
		if c.NArg() > 0 {
			return unknownCommand(e, c.App)
		}
		return cli.ShowAppHelp(c)
	}
	return app
}

// call is one run of one command.
type call struct {
	env
	name  string // of the command, "fleet add"
	flags *cli.Context
	out   *output
	json  bool
	text  bool // list only
	quiet bool
}

// output is stdout, or nothing with -q. It keeps the first error, with which the command ends:
// who prints a line has no need to look.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(text []byte) (n int, err error) {
	if o.err == nil {
		n, o.err = o.to.Write(text)
	}
	return n, o.err
}

// command builds one command: its flags and those of every command, the checks that every
// command needs, and act. args is "" for a command without arguments.
func (e env) command(name, usage, args string, flags []cli.Flag, act func(ctx context.Context, c *call) error) *cli.Command {
	formats := formatsOf(name)
	all := append(slices.Clone(flags), commonFlags(formats...)...)
	for _, flag := range all {
		if b, ok := flag.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true // "(default: false)" only takes room
		}
	}
	return &cli.Command{
		Name:               name[strings.LastIndexByte(name, ' ')+1:],
		Usage:              usage,
		ArgsUsage:          args,
		HideHelpCommand:    true,                    // else `add help` would not be an argument
		CustomHelpTemplate: cli.CommandHelpTemplate, // else it is shown as a group of commands
		OnUsageError:       e.usageError,
		Flags:              all,
		Action: func(flags *cli.Context) error {
			c := &call{env: e, name: name, flags: flags, out: &output{to: e.stdout}, quiet: flags.Bool("quiet")}
			format := flags.String("output")
			if !slices.Contains(formats, format) {
				return &policy.InputError{
					What: fmt.Sprintf("-o %q is not %s", format, strings.Join(formats, " or ")),
					Hint: formatHint(name, format),
				}
			}
			if args == "" && flags.NArg() > 0 {
				return &policy.InputError{
					What: fmt.Sprintf("%s takes no argument, and got %q", name, flags.Args().First()),
					Hint: "xdpallow " + name + " --help",
				}
			}
			c.json, c.text = format == "json", format == "text"
			if c.quiet {
				c.out.to = io.Discard
			}
			if err := act(flags.Context, c); err != nil {
				return err
			}
			return c.out.err
		},
	}
}

// formatHint returns the command in a format that a script can read, for csv with what makes it.
func formatHint(command, format string) string {
	if command == "list" && format == "csv" {
		return `xdpallow list -o json | jq -r '.entries[] | [.prefix, .owner, .until, .note] | @csv'`
	}
	return "xdpallow " + command + " -o json"
}

// formatsOf returns the formats that -o of a command may name.
func formatsOf(command string) []string {
	formats := []string{"table", "json"}
	switch command {
	case "fleet list":
		formats = append(formats, "text")
	case "list":
		formats = append(formats, "text", "nginx", "haproxy")
	case "stats":
		formats = append(formats, "prometheus")
	}
	return formats
}

// commonFlags returns the flags of every command.
func commonFlags(formats ...string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "print as `FORMAT`: " + strings.Join(formats, ", ")},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print errors only"},
		socketFlag(),
	}
}

// socketVariable is the environment variable for a socket that is not the default one.
const socketVariable = "XDPALLOW_SOCKET"

func socketFlag() cli.Flag {
	return &cli.PathFlag{Name: "socket", Value: defaultSocket, EnvVars: []string{socketVariable}, Usage: "control socket `PATH` of the daemon"}
}

// printJSON prints v for scripts: indented, fields in the order of the contract.
func (c *call) printJSON(v any) error {
	out := json.NewEncoder(c.out)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// offlineFlags returns the flags that name where to look when no daemon answers.
func offlineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.PathFlag{Name: "state", Value: defaultState, Usage: "state `DIR`, read when no daemon answers"},
		&cli.PathFlag{Name: "bpffs", Value: defaultBpffs, Usage: "pin root `DIR`, read when no daemon answers"},
	}
}
