package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Wrong input to a host with a gate: arguments, exit code, and what the error says.
// WORDS in capitals stand for the host's own: DIR, EMPTY, BAD.
var wrongInput = []struct {
	line string
	code int
	says string
}{
	{"nonsense", 2, `unknown command "nonsense"`},
	{"rm 192.0.2.0/24", 2, `unknown command "rm"`},
	{"--nonsense", 2, "nonsense"},
	{"status --nonsense", 2, "nonsense"},
	{"status -o yaml", 2, `-o "yaml"`},
	{"status now", 2, `"now"`},
	{"replace", 2, "replace needs one file"},
	{"replace nonsense.list", 2, "nonsense.list"},
	{"mode audit", 2, "needs an end"},
	{"mode audit --for soon", 2, "soon"},
	{"mode nonsense", 2, "nonsense"},
	{"suspend", 2, "needs one prefix or owner"},
	{"suspend nobody", 1, "nobody"},
	{"resume acme", 1, "not suspended"},
	{"limit acme", 2, "needs an owner, and a rate"},
	{"limit acme 5", 2, `"5" is not a rate`},
	{"limit nobody 5/s", 1, "nobody"},
	{"cut", 2, "needs one prefix or owner"},
	{"confirm", 1, "no change waits"},
	{"history now", 2, `"now"`},
	{"events now", 2, `"now"`},
	{"completion tcsh", 2, "needs a shell"},

	{"add", 2, "needs a prefix"},
	{"add host.example", 2, "is not a prefix or an address"},
	{"add 192.0.2.0/33", 2, "is not a prefix or an address"},
	{"add 192.0.2.256", 2, "is not a prefix or an address"},
	{"add 192.0.2", 2, "is not a prefix or an address"},
	{"add 0192.0.2.1", 2, "is not a prefix or an address"},
	{"add 192.0.2.77/24", 2, "has host bits set"},
	{"add 2001:db8::1/32", 2, "has host bits set"},
	{"add 192.0.2.1-192.0.2.9", 2, "is a range"},
	{"add fe80::1%eth0", 2, "has a zone"},
	{"add fe80::%eth0/64", 2, "has a zone"},
	{"add ::ffff:192.0.2.0/24", 2, "is IPv4-mapped"},
	{"add 127.0.0.1", 2, "need no entry"},
	{"add 255.255.255.255", 2, "can never be the source"},
	{"add ff02::1", 2, "can never be the source"},
	{"add 192.0.2.1 192.0.2.77/24", 2, "has host bits set"}, // all or none
	{"add 192.0.2.1 --owner ACME", 2, "ACME"},
	{"add 192.0.2.1 --for 1y", 2, "1y"},
	{"add 192.0.2.1 --service web", 2, "web"},
	{"add 0.0.0.0/0", 1, "0.0.0.0/0"},
	{"remove", 2, "needs either prefixes, --owner or --expired"},
	{"remove 192.0.2.77/24", 2, "has host bits set"},
	{"remove 192.0.2.0/24", 1, "is not on the list"},
	{"remove 203.0.113.0/24", 1, "was not made by add"},
	{"remove 203.0.113.7", 1, "is not on the list"},
	{"remove --owner nobody", 1, "belongs to nobody"},
	{"remove 192.0.2.1 --owner acme", 2, "needs either prefixes, --owner or --expired"},
	{"reload now", 2, `"now"`},

	{"list --owner ACME", 2, "ACME"},
	{"check", 2, "needs one address"},
	{"check 192.0.2.0/24", 2, "is not an address"},
	{"check fe80::1%eth0", 2, "is not an address"},
	{"check 192.0.2.1 --port 0", 2, "0"},
	{"check 192.0.2.1 --port 65536", 2, "65536"},
	{"check 192.0.2.1 --port sctp/5", 2, "sctp"},
	{"detach", 2, "nobody is here to ask"},
	{"detach --yes --interface eth7", 1, "eth7 is not guarded"},
	{"detach --yes --interface e/0", 2, "is not the name of an interface"},
	{"assets nonsense", 2, "nonsense"},

	{"run", 2, "needs --interface and --port"},
	{"run --interface eth0", 2, "needs --interface and --port"},
	{"run --interface eth0 --port 443/tcp", 2, "443/tcp"},
	{"run --interface eth0 --port 0", 2, "0"},
	{"run --interface eth0 --port 70000", 2, "70000"},
	{"run --interface e/0 --port 443", 2, "is not the name of an interface"},
	{"run --interface " + strings.Repeat("a", 128) + " --port 443", 2, "is not the name of an interface"},
	{"run --interface eth0 --port 443 --drop all", 2, `--drop "all"`},
	{"run --interface eth0 --port 443 --backstop maybe", 2, `--backstop "maybe"`},
	{"run --interface eth0 --port 443 --mode off", 2, `--mode "off"`},
	{"run --interface eth0 --port 443 --attach offload", 2, `--attach "offload"`},
	{"run --interface eth0 --port 443 --metrics 9100", 2, "is not HOST:PORT"},
	{"run --interface eth0 --port 443 --allow 192.0.2.77/24", 2, "has host bits set"},
	{"run --interface eth0 --port 443 --allow 192.0.2.0/24 extra", 2, `"extra"`},
}

// Promise: wrong input is a clear error with the right exit code, and changes nothing:
// no generation, no entry, no byte of the state, no pin.
func TestWrongInput(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run(allowed...)
	h.must("add", "198.51.100.0/28", "--owner", "acme")
	for _, c := range wrongInput {
		t.Run(c.line, func(t *testing.T) {
			h.refused(c.code, c.says, strings.Fields(c.line)...)
		})
	}
}

// Promise: without a daemon a change says so with 3 and is not made elsewhere; nor is
// a gate made where there was none.
func TestNoDaemonIsToldApart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, line := range []string{"add 192.0.2.1", "remove 192.0.2.1", "reload", "status", "list", "stats", "detach --yes"} {
		h.refused(3, "no daemon answers", strings.Fields(line)...)
	}
	h.refused(2, "no daemon answers", "check", "192.0.2.1") // 1 and 3 would be answers
	h.run(allowed...).kill()
	for _, line := range []string{"add 192.0.2.1", "remove 192.0.2.1", "reload"} {
		h.refused(3, "no daemon answers", strings.Fields(line)...)
	}
	for _, line := range []string{"status", "list", "stats"} {
		if r := h.cli(strings.Fields(line)...); r.code != 0 || r.stdout == "" || !strings.Contains(r.stderr, "no daemon answers") {
			t.Errorf("%s: exit %d, want 0\n%s%s", line, r.code, r.stdout, r.stderr)
		}
	}
	if status := h.status(); status.Daemon != nil || !status.Enforcing {
		t.Errorf("daemon %+v, enforcing %v, want none and true", status.Daemon, status.Enforcing)
	}
}

// Promise: every mistake in a list is told with file and line, and refuses the whole
// file: at a start with 2 and nothing attached, at a reload with 2 and nothing changed.
func TestWrongLists(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	list := h.file("acme.list", "203.0.113.0/24\n")
	h.run("--allow-file", list)
	for text, says := range map[string]string{
		"203.0.113.0/24 mask=1\n":                           ":1: unknown key \"mask\"",
		"203.0.113.0/24\n\n# x\n192.0.2.77/24\n":            ":4: 192.0.2.77/24 has host bits set",
		"192.0.2.1-192.0.2.9\n":                             ":1: \"192.0.2.1-192.0.2.9\" is a range",
		"fe80::1%eth0\n":                                    ":1: \"fe80::1%eth0\" has a zone",
		"192.0.2.0/24 192.0.3.0/24\n":                       ":1: \"192.0.3.0/24\" is not key=value",
		"192.0.2.0/24 owner=Acme\n":                         ":1: owner \"Acme\"",
		"192.0.2.0/24 until=soon\n":                         ":1: ",
		"192.0.2.0/24 service=web\n":                        ":1: 192.0.2.0/24: no service web; there is api",
		"192.0.2.0/24 note=\"x\n":                           ":1: note: no closing quote",
		"192.0.2.0/24 owner=a\n192.0.2.0/24 owner=b\n":      ":2: ",
		"192.0.2.0/24\n" + strings.Repeat("x", 5000) + "\n": ":2: line is longer than 4096 bytes",
		"192.0.2.0/24\x00\n":                                ":1: ",
	} {
		h.file("acme.list", text)
		before := h.must("list", "-o", "text")
		for _, args := range [][]string{{"reload", "--dry-run"}, {"reload"}} {
			r := h.cli(args...)
			if want := "xdpallow: error: " + list + says; r.code != 2 || !strings.HasPrefix(r.stderr, want) {
				t.Errorf("%.40q, %s: exit %d, want 2 and %q\n%s", text, args, r.code, want, r.stderr)
			}
		}
		if after := h.must("list", "-o", "text"); after != before {
			t.Errorf("%.40q changed the list to\n%s", text, after)
		}
		other := h.neighbour()
		d := other.start(binary, "--allow-file", list, "--interface", "eth1")
		if code := d.ends(); code != 2 || !strings.Contains(d.logged(), list+says) {
			t.Errorf("%.40q: run exits with %d, want 2 and %q\n%s", text, code, list+says, d.logged())
		}
	}
	for _, c := range []struct {
		path, says string
		code       int
	}{
		{filepath.Join(h.dir, "absent.list"), "absent.list: cannot be read: no such file or directory", 2},
		{filepath.Dir(h.file("empty/acme.lst", "203.0.113.0/24\n")), "not read, because they do not end in .list: acme.lst", 1},
	} {
		d := h.neighbour().start(binary, "--allow-file", c.path, "--interface", "eth1")
		if code := d.ends(); code != c.code || !strings.Contains(d.logged(), c.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s", c.path, code, c.code, c.says, d.logged())
		}
	}
}

// Promise: SIGHUP is a reload: a bad file is logged and changes nothing, a good one is
// taken over, and the daemon lives on.
func TestHangup(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	list := h.file("acme.list", "203.0.113.0/24\n")
	d := h.run("--allow-file", list)
	hangup := func(text string) {
		h.file("acme.list", text)
		if err := d.cmd.Process.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangup("203.0.113.0/24\ngarbage\n")
	d.await("xdpallow: error: reload: nothing was changed: " + list + ":2: ")
	h.broken("origin_failing", "file:"+list)
	if s := h.status(); s.Generation != 1 || !s.Enforcing {
		t.Errorf("generation %d, enforcing %v", s.Generation, s.Enforcing)
	}
	h.shut()
	hangup("203.0.113.0/24\n198.51.100.0/24\n")
	h.healed()
	h.knock(netlab.Connected, netlab.Connected)
}

// Promise: a v4-mapped prefix is taken for the IPv4 one that its packets carry, and
// that is said.
func TestMappedIsUnmappedWithAWarning(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run(allowed...)
	r := h.cli("add", "::ffff:192.0.2.0/120")
	if r.code != 0 || r.stderr != "xdpallow: warning: ::ffff:192.0.2.0/120 is IPv4-mapped: read as 192.0.2.0/24\n" || !strings.HasPrefix(r.stdout, "added 192.0.2.0/24\n") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := h.cli("check", "192.0.2.9", "--port", fmt.Sprint(port)); r.code != 0 {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
}
