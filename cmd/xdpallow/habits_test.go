package main

// Promise guarded here: what people type who know other tools is understood, or answered
// with a command to paste that reaches the same daemon.

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: help and version are asked for as of any other tool.
func TestHelpAndVersionAsAnywhere(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	_, app, _ := w.run()
	_, add, _ := w.run("add", "--help")
	_, version, _ := w.run("version")
	for line, want := range map[string]string{
		"help": app, "-h": app, "--help": app, "help help": app, "help --help": app, "--socket s help": app,
		"help add": add, "add -h": add, "add 192.0.2.4 -h": add, "add 192.0.2.4 --owner acme --help": add, "add -h 192.0.2.4": add, "--help add": add,
		"add --help -- 192.0.2.4": add, "help add 192.0.2.4": add,
		"--version": version, "-v": version, "-V": version, "version": version,
	} {
		if code, out, stderr := w.run(strings.Fields(line)...); code != 0 || out != want || stderr != "" {
			t.Errorf("%s: exit %d, %q %q, want\n%s", line, code, out, stderr, want)
		}
	}
	// A value and an argument are no questions.
	if code, _, stderr := w.sh("add 192.0.2.0/24 --note -h"); code != 0 {
		t.Errorf("a note -h: exit %d, %s", code, stderr)
	}
	if code, _, _ := w.run("check", "--", "-h"); code != 2 {
		t.Errorf("an argument -h: exit %d", code)
	}
	if code, _, stderr := w.run("help", "nonsense"); code != 2 || !strings.Contains(stderr, `unknown command "nonsense"`) {
		t.Errorf("help nonsense: exit %d, %s", code, stderr)
	}
	for _, want := range []string{"--socket PATH", "$XDPALLOW_SOCKET", "--version", "help COMMAND"} {
		if !strings.Contains(app, want) {
			t.Errorf("help does not say %s:\n%s", want, app)
		}
	}
	if len(w.asked) != 1 {
		t.Errorf("a question for help reached the engine: %v", w.asked)
	}
}

// Promise: an unknown command is refused, and the one that was meant is the hint.
func TestUnknownCommands(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	for line, want := range map[string]string{
		"ad 192.0.2.0/24 --owner acme": "xdpallow add 192.0.2.0/24 --owner acme",
		"rm 192.0.2.0/24":              "xdpallow remove 192.0.2.0/24",
		"del 192.0.2.0/24":             "xdpallow remove 192.0.2.0/24",
		"delete 192.0.2.0/24":          "xdpallow remove 192.0.2.0/24",
		"allow from 192.0.2.0/24":      "xdpallow add 192.0.2.0/24",
		"block acme --cut":             "xdpallow suspend acme --cut",
		"ban 192.0.2.7":                "xdpallow suspend 192.0.2.7",
		"deny from 192.0.2.7":          "xdpallow suspend 192.0.2.7",
		"unsuspend acme":               "xdpallow resume acme",
		"unblock acme":                 "xdpallow resume acme",
		"backup /root/gate":            "xdpallow export /root/gate",
		"restore /root/gate --dry-run": "xdpallow import /root/gate --dry-run",
		"flush":                        "xdpallow replace --allow-empty /dev/null --dry-run",
		"ls":                           "xdpallow list",
		"get -o json":                  "xdpallow list -o json",
		"stauts":                       "xdpallow status",
		"stat":                         "xdpallow stats",
		"lsit":                         "xdpallow list",
		"hist -n 3":                    "xdpallow history -n 3",
		"confrim":                      "xdpallow confirm",
		"test 192.0.2.9":               "xdpallow check 192.0.2.9",
		"kill acme":                    "xdpallow cut acme",
		"undo":                         "xdpallow rollback",
		"logs -f":                      "xdpallow events -f",
		"audit":                        "xdpallow mode audit --for 15m",
		"man":                          "xdpallow assets man",
		"start":                        "xdpallow run --help",
		"stop":                         "xdpallow detach",
		"nonsense":                     "xdpallow --help",
		"re":                           "xdpallow --help",
		"--socket /s rm 192.0.2.0/24":  "xdpallow remove --socket /s 192.0.2.0/24",
		"--socket /s flush":            "xdpallow replace --allow-empty /dev/null --dry-run --socket /s",
	} {
		code, out, stderr := w.run(strings.Fields(line)...)
		if code != 2 || out != "" || !strings.HasSuffix(stderr, "\nxdpallow: hint: "+want+"\n") {
			t.Errorf("%s: exit %d, %q %q, want the hint %q", line, code, out, stderr, want)
		}
	}
	// A flag that is nearly one is treated likewise.
	for line, want := range map[string]string{
		"add 192.0.2.0/24 --onwer acme": "xdpallow add 192.0.2.0/24 --owner acme",
		"list --owners=acme":            "xdpallow list --owner=acme",
		"list --nope":                   "xdpallow list --help",
	} {
		if code, _, stderr := w.run(strings.Fields(line)...); code != 2 || !strings.HasSuffix(stderr, "\nxdpallow: hint: "+want+"\n") {
			t.Errorf("%s: exit %d, %q, want the hint %q", line, code, stderr, want)
		}
	}
	if len(w.asked) > 0 {
		t.Errorf("what is unknown reached the engine: %v", w.asked)
	}
}

// Promise: flags of every command may stand before it, and the socket may come from the
// environment; a flag is stronger than the environment.
func TestFlagsBeforeTheCommand(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	for _, words := range [][]string{
		{"--socket", w.socket, "status"},
		{"--socket=" + w.socket, "status"},
		{"-socket", w.socket, "-q", "-o", "json", "status"},
		{"status", "--socket", w.socket},
	} {
		if code, _, stderr := w.run(words...); code != 0 || stderr != "" {
			t.Errorf("%q: exit %d, %s", words, code, stderr)
		}
	}
	if _, out, _ := w.run("-o", "json", "--socket", w.socket, "status"); !strings.HasPrefix(out, "{") {
		t.Errorf("-o json before the command prints %q", out)
	}
	t.Setenv("XDPALLOW_SOCKET", w.socket)
	if code, _, stderr := w.run("status"); code != 0 || stderr != "" {
		t.Errorf("XDPALLOW_SOCKET: exit %d, %s", code, stderr)
	}
	nobody := filepath.Join(t.TempDir(), "nobody")
	if code, _, _ := w.run("--socket", nobody, "reload"); code != 3 {
		t.Errorf("--socket beside XDPALLOW_SOCKET: exit %d, want 3", code)
	}
	t.Setenv("XDPALLOW_SOCKET", nobody)
	if code, _, _ := w.run("reload"); code != 3 {
		t.Errorf("XDPALLOW_SOCKET of nobody: exit %d, want 3", code)
	}
	if code, _, stderr := w.run("--socket"); code != 2 {
		t.Errorf("--socket alone: exit %d, %s", code, stderr)
	}
}

// Promise: every hint reaches the daemon that was asked; where the default is asked, none
// names it.
func TestHintsCarryTheSocket(t *testing.T) {
	for _, test := range []struct{ line, daemons, want string }{
		{"resume acme", "xdpallow status", "xdpallow status --socket SOCKET"},
		{"remove 192.0.2.0/24", "xdpallow remove 192.0.2.0/24 192.0.0.0/16", "xdpallow remove 192.0.2.0/24 192.0.0.0/16 --socket SOCKET"},
		{"remove 192.0.2.0/24", "edit it there, then: xdpallow reload", "edit it there, then: xdpallow reload --socket SOCKET"},
		{"confirm", "xdpallow status --socket /elsewhere", "xdpallow status --socket /elsewhere"},
		{"detach --yes", "xdpallow detach --yes; xdpallow status", "xdpallow detach --yes --socket SOCKET; xdpallow status --socket SOCKET"},
		{"reload", "modprobe tcp_diag", "modprobe tcp_diag"},
		{"reload", "xdpallow assets config", "xdpallow assets config"},
		{"add 192.0.2.0/24", "xdpallow add --help", "xdpallow add --help"},
		{"replace -", "--allow-empty", "xdpallow replace --allow-empty - --socket SOCKET"},
	} {
		engine := sampleEngine()
		engine.err = &policy.Refused{What: "x", Hint: test.daemons}
		w := newWorld(t).serve(t, engine)
		want := "\nxdpallow: hint: " + strings.ReplaceAll(test.want, "SOCKET", w.socket) + "\n"
		if _, _, stderr := w.sh(test.line); !strings.HasSuffix(stderr, want) {
			t.Errorf("%s: %q, want %q", test.line, stderr, want)
		}
	}
	// The mistakes that need no daemon to be found.
	w := newWorld(t)
	for line, want := range map[string]string{
		"suspend":          "xdpallow suspend acme --socket /s p",
		"check":            "xdpallow check 192.0.2.9 --port 443 --socket /s p",
		"history -n -1":    "xdpallow history -n 0 --socket /s p",
		"mode off":         "xdpallow mode --help",
		"completion tcsh":  "source <(xdpallow completion bash)",
		"add 10.0.0.5/8":   "xdpallow add 10.0.0.0/8 --socket /s p",
		"list --unused 90": "xdpallow list --unused 90d --socket /s p",
	} {
		want = "\nxdpallow: hint: " + strings.ReplaceAll(want, "/s p", "'/s p'") + "\n"
		if _, _, stderr := w.run(append(strings.Fields(line), "--socket", "/s p")...); !strings.HasSuffix(stderr, want) {
			t.Errorf("%s: %q, want %q", line, stderr, want)
		}
	}
	// sudo forgets the environment, a shell does not.
	engine := sampleEngine()
	w.serve(t, engine)
	t.Setenv("XDPALLOW_SOCKET", w.socket)
	engine.err, w.uid = control.ErrForbidden, 1000
	if _, _, stderr := w.run("reload"); !strings.HasSuffix(stderr, "\nxdpallow: hint: sudo xdpallow reload --socket "+w.socket+"\n") {
		t.Errorf("sudo: %q", stderr)
	}
	engine.err = &policy.Refused{What: "x", Hint: "xdpallow status"}
	if _, _, stderr := w.run("reload"); !strings.HasSuffix(stderr, "\nxdpallow: hint: xdpallow status\n") {
		t.Errorf("a socket from the environment: %q", stderr)
	}
	// What status tells to type is a hint as well.
	engine.err = nil
	if _, out, _ := w.run("--socket", w.socket, "status"); !strings.Contains(out, "xdpallow list --expiring 14d --socket "+w.socket+"\n") {
		t.Errorf("status:\n%s", out)
	}
}

// Promise: an address that looks like a network is listed as the one address that it is,
// and whoever typed it is told.
func TestForgottenLength(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	for line, want := range map[string]string{
		"add 10.0.0.0":              "10.0.0.0 is read as 10.0.0.0/32, one address",
		"remove 10.0.0.0":           "10.0.0.0 is read as 10.0.0.0/32, one address",
		"suspend 192.0.2.0":         "192.0.2.0 is read as 192.0.2.0/32, one address",
		"list 2001:db8::":           "2001:db8:: is read as 2001:db8::/128, one address",
		"add 10.0.0.0/32":           "",
		"add 10.0.0.10 2001:db8::1": "",
	} {
		if want != "" {
			want = "xdpallow: warning: " + want + "\n"
		}
		if code, _, stderr := w.sh(line); code != 0 || stderr != want {
			t.Errorf("%s: exit %d, %q, want %q", line, code, stderr, want)
		}
	}
	if _, _, stderr := w.run("run", "--interface", "eth0", "--port", "443", "--allow", "10.0.0.0"); !strings.Contains(stderr, "10.0.0.0 is read as 10.0.0.0/32, one address") {
		t.Errorf("run: %q", stderr)
	}
}

// Promise: help is read in a terminal of 80 columns, and so is history there; what goes
// into a file is whole. Long values of other tables are shortened in a terminal as well,
// and what tells rows apart is not.
func TestFitsATerminal(t *testing.T) {
	for _, command := range everyCommand(newApp(env{})) {
		_, help, _ := newWorld(t).run(append(strings.Fields(command.name), "--help")...)
		for line := range strings.Lines(help) {
			if strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "   -") {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
					t.Errorf("%s --help has a line of %d: %s", command.Name, n, line)
				}
			}
		}
		for _, flag := range command.Flags {
			usage := flag.(cli.DocGenerationFlag).GetUsage()
			if words := strings.Fields(strings.ReplaceAll(usage, "`", "")); !strings.Contains(strings.Join(strings.Fields(help), " "), strings.Join(words, " ")) {
				t.Errorf("%s --help does not say %q:\n%s", command.Name, usage, help)
			}
		}
	}
	w := newWorld(t).serve(t, sampleEngine())
	_, whole, _ := w.sh("history")
	w.columns = 80
	_, narrow, _ := w.sh("history")
	for line := range strings.Lines(narrow) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("history has a line of %d: %s", n, line)
		}
	}
	if !strings.Contains(narrow, "add 198.51.100.0/28") || !strings.Contains(narrow, "OPS-1") || !strings.Contains(whole, "--owner acme xxxxxxxx") {
		t.Errorf("narrow:\n%s\nwhole:\n%s", narrow, whole)
	}
	for columns, short := range map[int]bool{0: false, 80: true} {
		w.columns = columns
		_, listed, _ := w.sh("list")
		if strings.Contains(listed, "…") != short || strings.Contains(listed, "file:/etc/a.list ") == short ||
			!strings.Contains(listed, "2001:db8:42::/48 ") || !strings.Contains(listed, " 2027-01-31T18:00:00Z ") {
			t.Errorf("list in %d columns:\n%s", columns, listed)
		}
	}

	// A column that says nothing goes before a line wraps, and only then.
	empty := slices.Values([][]string{{"PREFIX", "UNTIL", "NOTE", "LAST-SEEN"}, {"192.0.2.0/24", "-", "-", "2026-11-22T09:00:00Z"}})
	for columns, want := range map[int]string{
		80: "PREFIX        UNTIL  NOTE  LAST-SEEN\n192.0.2.0/24  -      -     2026-11-22T09:00:00Z\n",
		42: "PREFIX        NOTE  LAST-SEEN\n192.0.2.0/24  -     2026-11-22T09:00:00Z\n",
		34: "PREFIX        LAST-SEEN\n192.0.2.0/24  2026-11-22T09:00:00Z\n",
	} {
		var out strings.Builder
		if err := fitted(&out, columns, empty); err != nil || out.String() != want {
			t.Errorf("%d columns: %v\n%s", columns, err, out.String())
		}
	}

	rows := slices.Values([][]string{
		{"PREFIX", "OWNER", "UNTIL", "NOTE"},
		{"2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128", "acme", "2026-11-22T09:00:00Z", strings.Repeat("é", 60)},
		{"192.0.2.0/24", strings.Repeat("o", 30), "-", "short"},
	})
	for _, c := range []struct{ columns, longest int }{{0, 42 + 2 + 30 + 2 + 20 + 2 + 60}, {200, 158}, {120, 120}, {40, 42 + 2 + 12 + 2 + 20 + 2 + 12}} {
		var out strings.Builder
		if err := fitted(&out, c.columns, rows); err != nil {
			t.Fatal(err)
		}
		longest := 0
		for line := range strings.Lines(out.String()) {
			longest = max(longest, utf8.RuneCountInString(line)-1)
		}
		if longest != c.longest || strings.Contains(out.String(), "…") != (longest < 158) ||
			!strings.Contains(out.String(), "ffff/128 ") || !strings.Contains(out.String(), " 2026-11-22T09:00:00Z ") {
			t.Errorf("%d columns, the longest line has %d and should have %d:\n%s", c.columns, longest, c.longest, out.String())
		}
	}
}
