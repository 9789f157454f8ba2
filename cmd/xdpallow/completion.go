package main

// This file is `completion`: at the Tab key it offers commands, flags, and the owners and
// prefixes of this host. What it cannot find out it does not offer; that is no error.

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// completions are the scripts that a shell reads once. Each asks `xdpallow completion
// complete` for the words that may stand at the cursor.
var completions = map[string]string{
	"bash": `_xdpallow() {
	local line=${COMP_LINE:0:COMP_POINT} words
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	local word=${words[-1]} IFS=$'\n'
	COMPREPLY=($(xdpallow completion complete -- "${words[@]:1}" 2>/dev/null))
	# readline completes from the last colon on, and IPv6 is full of them.
	[[ $word == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}")
}
complete -o default -F _xdpallow xdpallow
`,
	"zsh": `#compdef xdpallow
_xdpallow() {
	local -a found
	found=(${(f)"$(xdpallow completion complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
	if (( $#found )); then compadd -- $found; else _files; fi
}
compdef _xdpallow xdpallow
`,
	"fish": `complete -c xdpallow -a '(xdpallow completion complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
}

func completionCommand(e env) *cli.Command {
	return e.command("completion", "Print what makes a shell complete commands, flags, owners and prefixes", "bash|zsh|fish", nil, completion)
}

func completion(ctx context.Context, c *call) error {
	words := c.flags.Args().Slice()
	if len(words) > 0 && words[0] == "complete" {
		for _, word := range c.complete(ctx, words[1:]) {
			fmt.Fprintln(c.out, word)
		}
		return nil
	}
	script, found := "", false
	if len(words) == 1 {
		script, found = completions[words[0]]
	}
	if !found {
		return &policy.InputError{What: "completion needs a shell: bash, fish or zsh", Hint: "source <(xdpallow completion bash)"}
	}
	_, err := io.WriteString(c.out, script)
	return err
}

// complete returns what may stand in the place of the last of words.
func (c *call) complete(ctx context.Context, words []string) (found []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	for _, word := range c.candidates(ctx, words[:len(words)-1], last) {
		if strings.HasPrefix(word, last) {
			found = append(found, word)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// candidates returns what may follow words.
func (c *call) candidates(ctx context.Context, words []string, last string) []string {
	app := newApp(c.env)
	for len(words) > 0 && isOneOf(commonFlags(), words[0]) { // before the command
		n := flagWords(commonFlags(), words[0])
		if n > len(words) {
			return nil // the value of --socket
		}
		words = words[n:]
	}
	if len(words) == 0 || len(words) == 1 && words[0] == "help" {
		names := []string{"help"}
		for _, command := range app.Commands {
			names = append(names, command.Name)
		}
		return names[len(words):]
	}
	command := app.Command(words[0])
	if command != nil && len(command.Subcommands) > 0 {
		if len(words) == 1 {
			var names []string
			for _, sub := range command.Subcommands {
				names = append(names, sub.Name)
			}
			return names
		}
		return fleetCandidates(subcommand(command, words[1]), words, last)
	}
	if command == nil {
		return nil
	}
	known := c.known(words)
	if before := words[len(words)-1]; isFlag(before) && flagWords(command.Flags, before) == 2 {
		return known.values(ctx, command.Name, strings.TrimLeft(before, "-"))
	}
	if strings.HasPrefix(last, "-") {
		return flagNames(command)
	}
	switch command.Name {
	case "remove":
		return known.prefixes(ctx, last, true)
	case "list", "probe":
		return known.owners(ctx)
	case "limit":
		if i := slices.Index(flagsFirst(app, append([]string{app.Name}, words...)), "--"); i >= 0 {
			return []string{"none"} // the owner is typed already
		}
		return known.owners(ctx)
	case "suspend", "cut":
		return slices.Concat(known.owners(ctx), known.prefixes(ctx, last, false))
	case "resume":
		return known.suspended(ctx)
	case "completion", "assets":
		return strings.Split(command.ArgsUsage, "|")
	case "mode":
		return []string{"audit", "enforce"}
	}
	return nil
}

func flagNames(command *cli.Command) (names []string) {
	for _, flag := range command.Flags {
		for _, name := range flag.Names() {
			if len(name) > 1 {
				names = append(names, "--"+name)
			}
		}
	}
	return names
}

// fleetCandidates is candidates for a command of the fleet, of which etcd knows the values; to ask
// it takes too long at the Tab key.
func fleetCandidates(command *cli.Command, words []string, last string) []string {
	if command == nil {
		return nil
	}
	before := words[len(words)-1]
	switch {
	case isFlag(before) && flagWords(command.Flags, before) == 2:
		if before == "-o" || before == "--output" {
			return formatsOf(fleetGroup + " " + command.Name)
		}
		return nil
	case strings.HasPrefix(last, "-"):
		return flagNames(command)
	case command.Name == "limit" && len(words) == 3:
		return []string{"none"}
	}
	return nil
}

// known asks the daemon, but no longer than somebody waits who has pressed Tab.
type known struct{ daemon *control.Client }

const tabPatience = time.Second

func (c *call) known(words []string) known {
	socket, typed := socketIn(words)
	if !typed {
		socket = c.flags.Path("socket")
	}
	return known{control.NewClient(socket)}
}

// values returns the possible values of a flag of a command.
func (k known) values(ctx context.Context, command, flag string) (values []string) {
	switch flag {
	case "owner":
		if values = k.owners(ctx); command == "list" {
			values = append(values, api.NoOwner)
		}
	case "service":
		for _, s := range k.status(ctx).Services {
			values = append(values, s.Name)
		}
	case "port":
		if command == "check" {
			for _, s := range k.status(ctx).Services {
				for _, r := range policy.PortRanges(s.Ports) { // the first one shows that there is a range
					values = append(values, r.First.String())
				}
			}
		}
	case "interface":
		if command == "run" || command == "doctor" {
			return interfacesToGuard()
		}
		for _, i := range k.status(ctx).Interfaces {
			if i.Attached {
				values = append(values, i.Name)
			}
		}
	case "o", "output":
		return formatsOf(command)
	case "mode":
		return []string{"audit", "enforce"}
	case "drop":
		return []string{"stray", "strict", "syn"}
	case "attach":
		return []string{"auto", "generic", "native"}
	case "backstop":
		return []string{"off", "on"}
	case "log-format":
		return []string{"json", "text"}
	}
	return values
}

// interfacesToGuard returns the interfaces of this host except lo.
func interfacesToGuard() (names []string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 {
			names = append(names, i.Name)
		}
	}
	return names
}

// owners returns the names of owners. They come from the counters: to read a list of a
// million prefixes takes too long at the Tab key.
func (k known) owners(ctx context.Context) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, tabPatience)
	defer cancel()
	answer, err := k.daemon.Owners(ctx)
	if err != nil {
		return nil
	}
	for _, o := range answer.Owners {
		if o.Owner != "" {
			names = append(names, o.Owner)
		}
	}
	return names
}

// suspended returns what resume may name.
func (k known) suspended(ctx context.Context) (subjects []string) {
	for _, s := range k.status(ctx).Suspended {
		subjects = append(subjects, s.Subject)
	}
	return subjects
}

func (k known) status(ctx context.Context) api.Status {
	ctx, cancel := context.WithTimeout(ctx, tabPatience)
	defer cancel()
	status, _ := k.daemon.Status(ctx) // without an answer nothing is offered
	return status
}

// prefixes returns those on the list that begin with last, or how these go on where they are
// many; with made only those that remove can take away.
func (k known) prefixes(ctx context.Context, last string, made bool) []string {
	ctx, cancel := context.WithTimeout(ctx, tabPatience)
	defer cancel()
	prefixes, _ := k.daemon.Complete(ctx, last, made) // without an answer nothing is offered
	return prefixes
}
