package main

// This file is how xdpallow speaks. The rule: a result goes to stdout, all
// else to stderr behind "xdpallow: ". No capitals, no full stops. A failure
// reads "xdpallow: error: what failed, on what", and where the mistake can be
// foreseen "xdpallow: hint: " follows with what to type next. Questions are
// asked only of a terminal.

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
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// complain prints err, each of several on its own, and what to do about it.
func complain(e env, err error) {
	if err == nil || errors.Is(err, errDropped) || errors.Is(err, errProblems) {
		return
	}
	for _, one := range flatten(err) {
		fmt.Fprintf(e.stderr, "xdpallow: error: %v\n", one)
		if hint := hintFor(e, one); hint != "" {
			fmt.Fprintf(e.stderr, "xdpallow: hint: %s\n", hint)
		}
	}
}

// flatten takes apart what errors.Join put together.
func flatten(err error) []error {
	var check checkError
	if errors.As(err, &check) {
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

// hintFor is what to type after err, or "".
func hintFor(e env, err error) string { return e.reaching(e.advice(err)) }

// reaching is hint with the --socket that was typed in each of its commands, so that what
// is pasted asks the daemon that was asked. sudo does not hand the environment on.
func (e env) reaching(hint string) string {
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

// socketIn is the --socket that stands in a command line.
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

// advice is what to do about err, or "". A hint that is a flag, with or without a value,
// stands for the same command with it.
func (e env) advice(err error) string {
	var input *policy.InputError
	var refused *policy.Refused
	var mode *loader.ModeError
	var hinting interface{ Hint() string }
	switch {
	case errors.As(err, &input):
		if oneWord := input.Hint != "" && !strings.Contains(input.Hint, " "); oneWord && strings.Contains(input.Where, ":") && !strings.HasPrefix(input.Where, "stdin:") {
			return "edit " + input.Where + ": write " + input.Hint // no command: what a line of a file should say
		}
		return input.Hint
	case errors.As(err, &mode): // the gate has to be opened first, and then this very command is right
		return mode.Hint() + "; " + typed(e)
	case errors.As(err, &hinting):
		return hinting.Hint()
	case errors.As(err, &refused):
		if strings.HasPrefix(refused.Hint, "--") && len(e.args) > 1 {
			again := e
			again.args = slices.Insert(slices.Clone(e.args), 2, strings.Fields(refused.Hint)...)
			return typed(again)
		}
		return refused.Hint
	case errors.Is(err, control.ErrForbidden), errors.Is(err, fs.ErrPermission):
		if e.uid != 0 { // root is told the same by a kernel or a sandbox, where sudo changes nothing
			return "sudo " + typed(e)
		}
	case errors.Is(err, control.ErrNoDaemon), errors.Is(err, reconcile.ErrNoPins):
		return "systemctl start xdpallow"
	}
	return ""
}

// typed is the command line again, to be pasted; with replacements old, new.
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

// retyped is typed where that replaces something, and "" where what was meant is
// written in another way, as within a list of commas: the same mistake is no hint.
func retyped(e env, replace ...string) string {
	if again := typed(e, replace...); again != typed(e) {
		return again
	}
	return ""
}

// quote makes one word of arg for a shell.
func quote(arg string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=@%+", r)
	}
	if arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !plain(r) }) < 0 {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// quoted is what somebody typed, within a sentence.
func quoted(word string) string { return fmt.Sprintf("%.64q", word) }

// note tells the operator something that is not a result.
func (c *call) note(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.stderr, "xdpallow: "+format+"\n", args...)
	}
}

// confirmed asks a yes-or-no question; anything but yes is no.
func (c *call) confirmed(question string) bool {
	fmt.Fprintf(c.stderr, "xdpallow: %s [y/N] ", question)
	answer, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.stderr) // ^D leaves the cursor on the question
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
