package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

// file writes a file of the host's configuration and returns its path.
func (h *host) file(name, text string) string {
	h.tb.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.tb.Fatal(err)
	}
	return path
}

// prefixes are n lines of a list.
func prefixes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "100.64.%d.0/24 owner=acme\n", i)
	}
	return b.String()
}

// Promise: a reboot with a broken list file ends up enforcing the last good list: the
// daemon runs, logs file:line, and says that the origin is failing until it is mended.
func TestRebootWithABrokenFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	good := netlab.ListedPrefix4.String() + " owner=acme\n"
	list := h.file("allow.d/acme.list", good)
	d := h.run("--allow-file", filepath.Dir(list))
	h.must("add", "192.0.2.0/24", "--owner", "umbrella")
	h.shut()
	d.stop()
	h.reboot()
	h.knock(netlab.Connected, netlab.Connected) // nothing is filtered until run starts

	h.file("allow.d/acme.list", good+"203.0.113.300/24\n")
	d = h.run("--allow-file", filepath.Dir(list))
	if want := "xdpallow: error: file:" + list + ": not taken over, what it said last is enforced: " + list + ":2: "; !strings.Contains(d.logged(), want) {
		t.Errorf("the log does not say %q:\n%s", want, d.logged())
	}
	p := h.broken("origin_failing", "file:"+list)
	if s := h.status(); !s.Enforcing || s.Entries != 2 || !strings.Contains(p.Text, list+":2") {
		t.Errorf("enforcing %v with %d prefixes, problem %+v", s.Enforcing, s.Entries, p)
	}
	h.shut()
	h.refused(2, list+":2: ", strings.Fields(p.Hint)[1:]...)
	h.file("allow.d/acme.list", good)
	h.must("reload")
	h.healed()
	h.shut()
}

// Promise: with no last good policy a bad file ends run with 2, and nothing was
// attached or left pinned.
func TestFirstStartWithABrokenFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	list := h.file("acme.list", "203.0.113.0/24\n\n198.51.100.7/24 owner=acme\n")
	d := h.start(binary, "--allow-file", list)
	code := d.ends()
	if code != 2 || !strings.Contains(d.logged(), "xdpallow: error: "+list+":3: 198.51.100.7/24 has host bits set\nxdpallow: hint: edit "+list+":3: write 198.51.100.0/24\n") {
		t.Errorf("exit %d, want 2 with file:line and the canonical form:\n%s", code, d.logged())
	}
	h.open()
}

// Promise: a file that lost more than half of its prefixes while the host was down is
// far more often truncated than meant: the start keeps what was, and says so.
func TestRebootWithAShrunkenFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	list := h.file("acme.list", netlab.ListedPrefix4.String()+"\n"+prefixes(19))
	h.run("--allow-file", list).stop()
	h.reboot()
	h.file("acme.list", prefixes(9))
	d := h.run("--allow-file", list)
	p := h.broken("origin_failing", "file:"+list)
	if !strings.Contains(p.Text, "11 of 20 prefixes would be removed") || !strings.Contains(d.logged(), "11 of 20 prefixes would be removed") {
		t.Errorf("problem %+v, log:\n%s", p, d.logged())
	}
	if s := h.status(); s.Entries != 20 || !s.Enforcing {
		t.Errorf("%d prefixes, enforcing %v", s.Entries, s.Enforcing)
	}
	h.shut()
	h.must("reload", "--force-shrink")
	h.healed()
	if s := h.status(); s.Entries != 9 {
		t.Errorf("%d prefixes after what was meant", s.Entries)
	}
}

// Promise: a torn write of the effective list costs one generation, not the policy:
// the one before is enforced after a reboot, and status says so.
func TestRebootWithATornList(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	list := h.file("acme.list", netlab.ListedPrefix4.String()+"\n")
	d := h.run("--allow-file", list)
	h.must("add", "192.0.2.1", "--owner", "acme")
	h.must("add", "192.0.2.2", "--owner", "acme")
	before := h.status()
	d.stop()
	effective := filepath.Join(h.state(), "effective.list")
	whole, err := os.ReadFile(effective)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
		h.file("acme.list", "not a list\n") // so that only the effective list is left
		if err := os.WriteFile(effective, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		h.reboot()
		d = h.run("--allow-file", list)
		p := h.broken("state_torn", h.state())
		s := h.status()
		if !s.Enforcing || !strings.Contains(p.Text, "effective.list") || s.Generation < before.Generation {
			t.Errorf("cut at %d: enforcing %v, generation %d after %d, %+v", cut, s.Enforcing, s.Generation, before.Generation, p)
		}
		// Both adds were acknowledged: they stand in the database, torn list or not.
		if got := len(ask[api.Listing](h, "list").Entries); got != 3 {
			t.Errorf("cut at %d: %d prefixes, want 3", cut, got)
		}
		h.shut()
		d.stop()
	}
}

// Promise: after a reboot the last good policy is back before any file is read: a list
// that takes long to read leaves nobody in meanwhile.
func TestRebootWithALongFile(t *testing.T) {
	h := newHost(t)
	h.serve()
	list := h.file("acme.list", netlab.ListedPrefix4.String()+"\n")
	h.run("--allow-file", list).stop()
	h.reboot()
	var long strings.Builder
	fmt.Fprintln(&long, netlab.ListedPrefix4)
	for i := range 1_000_000 {
		fmt.Fprintf(&long, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	h.file("acme.list", long.String())
	d := h.start(binary, "--allow-file", list, "--dry-run")
	start := time.Now()
	d.ends()
	reading := time.Since(start)

	start = time.Now()
	h.start(binary, "--allow-file", list)
	h.eventually("the gate is shut", func() bool { return h.xdp("eth0") != 0 })
	if shut := time.Since(start); shut > reading/2 {
		t.Errorf("the gate was shut after %v, and reading the list takes %v", shut, reading)
	}
	h.shut()
}
