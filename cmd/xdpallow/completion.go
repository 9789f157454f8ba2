package main

// This file is `completion`: commands, flags, and the owners and prefixes of this very
// host at the Tab key. What cannot be found out is not offered, and never an error.

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// completions are what a shell has to read once. Each asks `xdpallow completion
// complete` for the words that could stand where the cursor is.
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

// complete is what could stand in the place of the last of words.
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

// candidates are the words for the place behind words.
func (c *call) candidates(ctx context.Context, words []string, last string) []string {
	app := newApp(c.env)
	if len(words) == 0 {
		var names []string
		for _, command := range app.Commands {
			names = append(names, command.Name)
		}
		return names
	}
	command := app.Command(words[0])
	if command == nil {
		return nil
	}
	if before := words[len(words)-1]; isFlag(before) && width(command.Flags, before) == 2 {
		return c.values(ctx, words, strings.TrimLeft(before, "-"))
	}
	if strings.HasPrefix(last, "-") {
		var names []string
		for _, flag := range command.Flags {
			for _, name := range flag.Names() {
				if len(name) > 1 {
					names = append(names, "--"+name)
				}
			}
		}
		return names
	}
	switch command.Name {
	case "remove":
		_, prefixes := c.known(ctx, words)
		return prefixes
	case "limit":
		owners, _ := c.known(ctx, words)
		return owners
	case "suspend", "resume", "cut":
		owners, prefixes := c.known(ctx, words)
		return slices.Concat(owners, prefixes)
	case "completion", "assets":
		return strings.Split(command.ArgsUsage, "|")
	case "mode":
		return []string{"audit", "enforce"}
	}
	return nil
}

// values are what a flag may be given.
func (c *call) values(ctx context.Context, words []string, flag string) []string {
	switch flag {
	case "owner":
		owners, _ := c.known(ctx, words)
		return owners
	case "o", "output":
		return []string{"json", "table"}
	case "mode":
		return []string{"audit", "enforce"}
	case "drop":
		return []string{"stray", "strict", "syn"}
	case "attach":
		return []string{"auto", "generic", "native"}
	case "backstop":
		return []string{"off", "on"}
	}
	return nil
}

// known are the owners and prefixes that the daemon knows, unless it takes longer than
// somebody waits who has pressed Tab.
func (c *call) known(ctx context.Context, words []string) (owners, prefixes []string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	socket := c.flags.Path("socket")
	if i := slices.Index(words, "--socket"); i >= 0 && i+1 < len(words) {
		socket = words[i+1]
	}
	listing, err := control.NewClient(socket).List(ctx, reconcile.ListRequest{})
	if err != nil {
		return nil, nil
	}
	names := map[string]bool{}
	for _, e := range listing.Entries {
		prefixes = append(prefixes, e.Prefix.String())
		if e.Owner != "" {
			names[e.Owner] = true
		}
	}
	return slices.Collect(maps.Keys(names)), prefixes
}
