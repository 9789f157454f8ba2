package main

// This file lets flags follow arguments: urfave/cli v2 stops at the first argument, and
// `add 192.0.2.0/24 --owner acme` would take "--owner" for a prefix.

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst puts the flags of the command before its arguments, and "--" between them, so
// that no argument is taken for a flag. What follows "--" stays an argument. --help anywhere
// shows the help of the command, whatever else was typed.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	// commandFirst leaves --help alone before a command, and what is unknown.
	at := 1
	for at < len(args) && isFlag(args[at]) {
		at++
	}
	if at == len(args) {
		return args
	}
	command := app.Command(args[at])
	if command != nil && len(command.Subcommands) > 0 && at+1 < len(args) {
		at++
		command = subcommand(command, args[at])
	}
	if command == nil {
		return args
	}
	flags, rest := args[:at+1:at+1], args[at+1:]
	var positional []string
	for len(rest) > 0 {
		switch {
		case rest[0] == "--":
			positional, rest = append(positional, rest[1:]...), nil
		case isHelp(rest[0]):
			return append(args[:at+1:at+1], "--help")
		case isFlag(rest[0]):
			n := min(flagWords(command.Flags, rest[0]), len(rest))
			flags, rest = append(flags, rest[:n]...), rest[n:]
		default:
			positional, rest = append(positional, rest[0]), rest[1:]
		}
	}
	if len(positional) == 0 {
		return flags
	}
	return append(append(flags, "--"), positional...)
}

// subcommand returns the command of a group that has that name, or nil.
func subcommand(group *cli.Command, name string) *cli.Command {
	if i := slices.IndexFunc(group.Subcommands, func(c *cli.Command) bool { return c.Name == name }); i >= 0 {
		return group.Subcommands[i]
	}
	return nil
}

// isFlag reports whether arg is a flag. A lone "-" is an argument: stdin.
func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' && arg != "--" }

// flagWords returns how many words a flag takes: one for --x=y, for booleans and for unknown
// flags, which are refused later; else two.
func flagWords(flags []cli.Flag, arg string) int {
	name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
	if strings.Contains(name, "=") {
		return 1
	}
	for _, f := range flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		if _, ok := f.(*cli.BoolFlag); ok {
			return 1
		}
		return 2
	}
	return 1
}
