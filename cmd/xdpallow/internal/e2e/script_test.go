package e2e

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// scripted is a script's own host and its daemon.
type scripted struct {
	*host
	daemon *daemon
	open   map[string]net.Conn
}

// Promise: every command does what its script in testdata shows, byte for byte; each
// script begins with the promise that it guards. What only reads is asked twice and
// must print the same bytes.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			h := newHost(env.T().(testing.TB))
			h.serve()
			env.Values["host"] = &scripted{host: h, open: map[string]net.Conn{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"xdpallow": func(ts *testscript.TestScript, _ bool, args []string) { command(ts, 0, args) },
			"exits":    exits,
			"until":    until,
			"daemon":   run,
			"knock":    knock,
			"sleep":    wait,
			"tear":     tear,
			"connect":  connect,
			"ended":    ended,
		},
	})
}

// Promise: no command is without a script.
func TestEveryCommandHasAScript(t *testing.T) {
	t.Parallel()
	help, err := exec.Command(binary, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, commands, found := strings.Cut(string(help), "COMMANDS:")
	commands, _, _ = strings.Cut(commands, "GLOBAL OPTIONS")
	if !found {
		t.Fatalf("no commands in %s", help)
	}
	for line := range strings.Lines(commands) {
		if words := strings.Fields(line); len(words) > 0 {
			text, err := os.ReadFile(filepath.Join("testdata", words[0]+".txtar"))
			if err != nil || !strings.HasPrefix(string(text), "# Promise: ") {
				t.Errorf("command %s has no script that begins with its promise: %v", words[0], err)
			}
		}
	}
}

func of(ts *testscript.TestScript) *scripted { return ts.Value("host").(*scripted) }

// exits CODE COMMAND… is a command that ends with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	command(ts, code, args[1:])
}

// until TEXT COMMAND… is a command that is repeated until it prints the text, for what
// the daemon learns in its own time.
func until(ts *testscript.TestScript, _ bool, args []string) {
	h, r := of(ts), result{}
	for deadline := time.Now().Add(patience); !strings.Contains(r.stdout, args[0]); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("xdpallow %q never printed %q:\n%s%s", args[1:], args[0], r.stdout, r.stderr)
		}
		r = h.feed("", args[1:]...)
	}
	h.said(ts, r.stdout, r.stderr)
}

// reading are the commands that change nothing.
var reading = []string{"list", "export", "status", "stats", "check", "history", "owners", "events", "assets", "version"}

// command runs xdpallow; a last argument <FILE is its standard input.
func command(ts *testscript.TestScript, code int, args []string) {
	h, stdin := of(ts), ""
	if file, found := strings.CutPrefix(args[len(args)-1], "<"); found {
		stdin, args = ts.ReadFile(file), args[:len(args)-1]
	}
	for i, arg := range args {
		args[i] = strings.TrimPrefix(arg, "+") // +FILE is a file of the script
		if args[i] != arg {
			args[i] = ts.MkAbs(args[i])
		}
	}
	r := h.feed(stdin, args...)
	h.said(ts, r.stdout, r.stderr)
	if r.code != code {
		ts.Fatalf("xdpallow %q: exit %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
	}
	if !slices.Contains(reading, args[0]) {
		return
	}
	again := h.feed(stdin, args...)
	// A host is never quite still: a counter may move between two readings.
	for range 10 {
		if again == r || args[0] != "stats" {
			break
		}
		r, again = again, h.feed(stdin, args...)
	}
	if again != r {
		ts.Fatalf("xdpallow %q printed other bytes the second time:\n%s\n%s", args, r.stdout, again.stdout)
	}
}

// run is `daemon start FLAG…`, `daemon stop`, `daemon kill`, `daemon ended CODE`; start
// may be `daemon fails FLAG…`. What was logged is stderr.
func run(ts *testscript.TestScript, _ bool, args []string) {
	h := of(ts)
	flags := slices.Clone(args[1:])
	for i, flag := range flags {
		if file, found := strings.CutPrefix(flag, "+"); found {
			flags[i] = ts.MkAbs(file)
		}
	}
	switch args[0] {
	case "start":
		h.daemon = h.run(flags...)
	case "fails":
		h.daemon = h.start(binary, flags...)
		h.daemon.ends()
	case "stop":
		h.daemon.stop()
	case "kill":
		h.daemon.kill()
	case "ended":
		if code := h.daemon.ends(); strconv.Itoa(code) != args[1] {
			ts.Fatalf("the daemon ended with %d:\n%s", code, h.daemon.logged())
		}
	}
	h.said(ts, "", h.daemon.logged())
}

// said is what the script sees. Paths differ from run to run, and have names.
func (h *scripted) said(ts *testscript.TestScript, stdout, stderr string) {
	paths := strings.NewReplacer(h.dir, "HOST", ts.MkAbs("."), "WORK")
	_, err := paths.WriteString(ts.Stdout(), stdout)
	ts.Check(err)
	_, err = paths.WriteString(ts.Stderr(), stderr)
	ts.Check(err)
}

// tear FILE leaves in the state directory what a crash in the middle of a write leaves.
func tear(ts *testscript.TestScript, _ bool, args []string) {
	file, err := os.OpenFile(filepath.Join(of(ts).state(), args[0]), os.O_WRONLY|os.O_APPEND, 0)
	ts.Check(err)
	_, err = file.WriteString(`{"sequence":99,"time":"2026-11-22T0`)
	ts.Check(errors.Join(err, file.Close()))
}

// wait SECONDS is for what happens by itself.
func wait(ts *testscript.TestScript, _ bool, args []string) {
	seconds, err := strconv.ParseFloat(args[0], 64)
	ts.Check(err)
	time.Sleep(time.Duration(seconds * float64(time.Second)))
}

// knock listed|unlisted OUTCOME is a client at the API.
func knock(ts *testscript.TestScript, _ bool, args []string) {
	h, client := of(ts), netlab.Listed4
	if args[0] == "unlisted" {
		client = netlab.Unlisted4
	}
	wait := 5 * time.Second
	if args[1] == netlab.Dropped.String() {
		wait = 300 * time.Millisecond
	}
	outcome, err := h.lab.Wire.Knock(client, h.api4(), wait)
	if outcome.String() != args[1] {
		ts.Fatalf("%s client: %s (%v), want %s", args[0], outcome, err, args[1])
	}
}
