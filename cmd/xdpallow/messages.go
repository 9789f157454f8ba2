package main

// This file prints messages. The rule: a result goes to stdout, everything else to stderr
// after "xdpallow: ". No capitals, no full stops. A failure reads "xdpallow: error: what
// failed, on what"; where we know what to type next, "xdpallow: hint: " and a command
// follow. Questions are asked only on a terminal.

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// printError prints err, each of several joined errors on its own, with its hint.
func printError(e env, err error) {
	if err == nil || errors.Is(err, errDropped) || errors.Is(err, errForwards) || errors.Is(err, errMissing) || errors.Is(err, errProblems) {
		return
	}
	for _, one := range flatten(err) {
		fmt.Fprintf(e.stderr, "xdpallow: error: %v\n", one)
		if hint := hintFor(e, one); hint != "" {
			fmt.Fprintf(e.stderr, "xdpallow: hint: %s\n", hint)
		}
	}
}

// flatten returns the errors that errors.Join joined.
func flatten(err error) []error {
	if check, ok := errors.AsType[checkError](err); ok {
		err = check.error
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// hintFor returns what to type after err, or "".
func hintFor(e env, err error) string { return e.withSocket(e.hint(err)) }

// withSocket puts the --socket that was typed into each command of hint: pasted, they ask
// the same daemon. sudo does not pass the environment on, so its socket is written out, too.
func (e env) withSocket(hint string) string {
	socket, typed := socketIn(e.args)
	if !typed && strings.HasPrefix(hint, "sudo ") {
		socket = os.Getenv(socketVariable)
	}
	if socket == "" || strings.Contains(hint, "--socket") {
		return hint
	}
	commands := strings.Split(hint, "; ")
	for i, command := range commands {
		_, words, found := strings.Cut(command, "xdpallow ")
		verb, _, _ := strings.Cut(words, " ")
		asks := !slices.Contains([]string{"assets", "completion", "demo", "version", "--help"}, verb) && !strings.HasSuffix(words, " --help")
		if found && asks {
			commands[i] += " --socket " + quote(socket)
		}
	}
	return strings.Join(commands, "; ")
}

// socketIn returns the --socket in a command line.
func socketIn(args []string) (socket string, typed bool) {
	for i, arg := range args {
		name, value, assigned := strings.Cut(arg, "=")
		switch {
		case arg == "--":
			return socket, typed
		case name != "--socket" && name != "-socket":
		case assigned:
			socket, typed = value, true
		case i+1 < len(args):
			socket, typed = args[i+1], true
		}
	}
	return socket, typed
}

// hint returns what to type after err, or "". A hint that is a flag stands for the same
// command with that flag.
func (e env) hint(err error) string {
	var input *policy.InputError
	var refused *policy.Refused
	var mode *loader.ModeError
	var hinting interface{ Hint() string }
	switch {
	case errors.As(err, &input):
		if !strings.Contains(input.Where, ":") || strings.HasPrefix(input.Where, "stdin:") || input.Hint == "" {
			return input.Hint
		}
		switch { // a line of a file, which no command mends
		case !strings.Contains(input.Hint, " "):
			return "edit " + input.Where + ": write " + input.Hint
		case prefixesIn(input.Hint) != nil:
			return "edit " + input.Where + ": write a line for each of " + input.Hint
		}
		return input.Hint
	case errors.As(err, &mode): // the gate must be opened first; then the same command works
		return mode.Hint() + "; " + typed(e)
	case errors.As(err, &hinting):
		return hinting.Hint()
	case errors.As(err, &refused):
		if strings.HasPrefix(refused.Hint, "--") && len(e.args) > 1 {
			again := e
			again.args = slices.Insert(slices.Clone(e.args), 1+commandWords(e.args[1:]), strings.Fields(refused.Hint)...)
			return typed(again)
		}
		return refused.Hint
	case errors.Is(err, control.ErrForbidden), errors.Is(err, fs.ErrPermission):
		if e.uid != 0 { // to root a kernel or a sandbox says the same, and sudo changes nothing
			return "sudo " + typed(e)
		}
	case errors.Is(err, control.ErrNoDaemon), errors.Is(err, loader.ErrNoPins):
		return "systemctl start xdpallow"
	}
	return ""
}

// typed returns the command line, quoted to be pasted, with each old replaced by its new.
func typed(e env, replace ...string) string {
	words := []string{"xdpallow"}
	for _, arg := range e.args[1:] {
		for i := 0; i+1 < len(replace); i += 2 {
			if arg == replace[i] {
				arg = replace[i+1]
			}
		}
		words = append(words, quote(arg))
	}
	return strings.Join(words, " ")
}

// retyped is typed, or "" where nothing was replaced, because the mistake is part of a longer
// word: a hint that repeats the mistake helps nobody.
func retyped(e env, replace ...string) string {
	if again := typed(e, replace...); again != typed(e) {
		return again
	}
	return ""
}

// quote returns arg as one word of a shell.
func quote(arg string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=@%+", r)
	}
	if arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !plain(r) }) < 0 {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// quoted returns a typed word to stand in a sentence.
func quoted(word string) string { return fmt.Sprintf("%.64q", word) }

// note prints a message that is no result, unless -q was given.
func (c *call) note(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.stderr, "xdpallow: "+format+"\n", args...)
	}
}

// confirmed asks a yes-or-no question. Every answer but yes is no.
func (c *call) confirmed(question string) bool {
	fmt.Fprintf(c.stderr, "xdpallow: %s [y/N] ", question)
	answer, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.stderr) // ^D leaves the cursor on the question
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
