package main

// This file lets flags follow arguments: urfave/cli v2 stops at the first
// argument, and `add 192.0.2.0/24 --owner acme` would list "--owner".

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute puts the flags of the chosen command before its arguments, and "--"
// between them so that nothing in an argument is taken for a flag again. What
// follows "--" stays an argument. Who asks for help anywhere is shown that of the
// command, whatever else stands there.
func permute(app *cli.App, args []string) []string {
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
			n := min(width(command.Flags, rest[0]), len(rest))
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

// isFlag: a lone "-" is an argument, it means stdin.
func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' && arg != "--" }

// width is how many words a flag takes: one for --x=y, for booleans and for
// what is unknown (and is going to be refused), else two.
func width(flags []cli.Flag, arg string) int {
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
