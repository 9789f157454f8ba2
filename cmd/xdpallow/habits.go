package main

// This file accepts what people type out of habit: help and version as in other tools, flags
// before the command; and it hints at our name of a command that other tools call otherwise.

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// commandFirst returns args in the order that urfave/cli reads: first the command, then the
// common flags. `help add` becomes `add --help`, and -v becomes `version`.
func commandFirst(args []string) []string {
	if len(args) == 0 {
		return args
	}
	var common, help []string
	rest := args[1:]
	for len(rest) > 0 && isFlag(rest[0]) {
		switch {
		case rest[0] == "--version" || rest[0] == "-v" || rest[0] == "-V":
			return append([]string{args[0], "version"}, common...)
		case isHelp(rest[0]):
			help, rest = []string{"--help"}, rest[1:]
		case isOneOf(commonFlags(), rest[0]):
			n := min(flagWords(commonFlags(), rest[0]), len(rest))
			common, rest = append(common, rest[:n]...), rest[n:]
		default:
			return args // an unknown flag, which is refused later
		}
	}
	for len(rest) > 0 && rest[0] == "help" {
		help, rest = []string{"--help"}, rest[1:]
	}
	switch {
	case len(rest) > 0 && isHelp(rest[0]), len(rest) == 0 && len(help) > 0:
		return []string{args[0], "--help"}
	case len(rest) == 0:
		return args
	}
	n := commandWords(rest)
	return slices.Concat(args[:1], rest[:n], help, common, rest[n:])
}

// commandWords returns how many of words name the command: `fleet add` has two.
func commandWords(words []string) int {
	if len(words) > 1 && words[0] == fleetGroup && !isFlag(words[1]) {
		return 2
	}
	return 1
}

func isHelp(arg string) bool { return arg == "-h" || arg == "--help" || arg == "-help" }

// isOneOf reports whether arg is one of flags, with or without its value.
func isOneOf(flags []cli.Flag, arg string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// habits are the names of commands in other tools, with ours. Where ours is of several words,
// the hint is these words without the arguments that were typed.
var habits = map[string]string{
	"allow": "add", "permit": "add", "accept": "add", "insert": "add",
	"rm": "remove", "del": "remove", "delete": "remove", "unallow": "remove",
	"ls": "list", "show": "list", "get": "list", "save": "export", "dump": "export", "backup": "export",
	"apply": "replace", "restore": "import", "sync": "replace",
	"flush": "replace --allow-empty /dev/null --dry-run", "clear": "replace --allow-empty /dev/null --dry-run",
	"block": "suspend", "deny": "suspend", "ban": "suspend", "drop": "suspend", "reject": "suspend",
	"unsuspend": "resume", "unblock": "resume", "unban": "resume",
	"kill": "cut", "disconnect": "cut", "throttle": "limit", "tenants": "owners", "customers": "owners",
	"test": "check", "lookup": "check", "explain": "check", "trace": "check",
	"start": "run --help", "attach": "run --help", "stop": "detach", "unload": "detach", "down": "detach",
	"undo": "rollback", "revert": "rollback", "log": "history", "changes": "history",
	"logs": "events", "watch": "top", "monitor": "top", "metrics": "stats", "counters": "stats",
	"info": "status", "health": "status", "diagnose": "doctor", "diag": "doctor", "preflight": "doctor", "is-active": "status", "refresh": "reload",
	"audit": "mode audit --for 15m", "enforce": "mode enforce",
	"install": "assets unit", "unit": "assets unit", "config": "assets config", "man": "assets man", "manual": "assets man",
}

// unknownCommand refuses a command that does not exist, and hints at the one that was meant.
func unknownCommand(e env, app *cli.App) error {
	typedName := e.args[1]
	refusal := &policy.InputError{What: "unknown command " + quoted(typedName), Hint: "xdpallow --help"}
	meant, ok := habits[typedName]
	if strings.Contains(meant, " ") {
		refusal.Hint = "xdpallow " + meant
		return refusal
	}
	if !ok {
		var names []string
		for _, command := range app.Commands {
			names = append(names, command.Name)
		}
		if meant = nearest(typedName, names); meant == "" {
			return refusal
		}
	}
	again := e
	again.args = slices.Concat(e.args[:1], []string{meant}, e.args[2:])
	if ok { // `ufw allow from 192.0.2.7`
		again.args = slices.DeleteFunc(again.args, func(arg string) bool { return arg == "from" })
	}
	refusal.Hint = typed(again)
	return refusal
}

// usageError names the wrong flag of a command, and hints at the one that was meant. In
// urfave/cli a command does not inherit it, so each one sets it.
func (e env) usageError(c *cli.Context, err error, _ bool) error {
	if c.Command == nil || c.Command.Name == "" || c.Command.Name == c.App.Name {
		return &policy.InputError{What: err.Error(), Hint: "xdpallow --help"}
	}
	command := strings.TrimPrefix(c.Command.HelpName, "xdpallow ")
	refusal := &policy.InputError{What: err.Error(), Hint: "xdpallow " + command + " --help"}
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return refusal
	}
	refusal.What = command + " has no flag --" + name
	var names []string
	for _, flag := range c.Command.Flags {
		names = append(names, flag.Names()[0])
	}
	meant := nearest(name, names)
	if meant == "" {
		return refusal
	}
	again := e
	again.args = slices.Clone(e.args)
	for i, arg := range again.args {
		if flag, value, found := strings.Cut(arg, "="); strings.TrimLeft(flag, "-") == name && isFlag(arg) {
			if again.args[i] = "--" + meant; found {
				again.args[i] += "=" + value
			}
		}
	}
	refusal.Hint = typed(again)
	return refusal
}

// nearest returns the name that was meant by word: the only one that begins with it, or the
// one with the fewest typing errors, and among those the one of the same length. It returns ""
// where that is no name or more than one.
func nearest(word string, names []string) string {
	if word == "" {
		return ""
	}
	var begin []string
	const slip = 100 // more than names differ in length
	best, least, several := "", slip*len(word), false
	for _, name := range names {
		if strings.HasPrefix(name, word) {
			begin = append(begin, name)
		}
		longer := max(len(name), len(word)) - min(len(name), len(word))
		switch n := slip*slips(word, name) + longer; {
		case n < least:
			best, least, several = name, n, false
		case n == least:
			several = true
		}
	}
	switch {
	case len(begin) == 1:
		return begin[0]
	case several || least/slip > max(1, len(word)/3):
		return ""
	}
	return best
}

// slips counts the typing errors between a and b: letters that are missing, added, wrong, or
// swapped with their neighbour.
func slips(a, b string) int {
	var before, last, row []int
	for i := range len(a) + 1 {
		row = make([]int, len(b)+1)
		for j := range row {
			switch {
			case i == 0 || j == 0:
				row[j] = i + j
				continue
			case a[i-1] == b[j-1]:
				row[j] = last[j-1]
			default:
				row[j] = 1 + min(last[j-1], last[j], row[j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], 1+before[j-2])
			}
		}
		before, last = last, row
	}
	return row[len(b)]
}
