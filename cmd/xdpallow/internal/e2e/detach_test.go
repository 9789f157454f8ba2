package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// open asserts that nothing of the gate is left: no program, no pin, no filter.
func (h *host) open() {
	h.tb.Helper()
	if id := h.xdp("eth0"); id != 0 {
		h.tb.Errorf("program %d is still on eth0", id)
	}
	if left, err := os.ReadDir(h.bpffs()); err != nil || len(left) > 0 && hasPins(left) {
		h.tb.Errorf("pins are left: %v %v", left, err)
	}
	h.knock(netlab.Connected, netlab.Connected)
	if r := h.cli("status"); r.code != 3 {
		h.tb.Errorf("status without a gate: exit %d, want 3\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// hasPins reports whether files of a BPF file system's root are not the kernel's own.
func hasPins(files []os.DirEntry) bool {
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".debug") {
			return true
		}
	}
	return false
}

// Promise: detach is the only opening. It needs --yes, goes through the daemon, which
// ends with 0 and attaches nothing again; a later run shuts the gate again.
func TestDetachThroughTheDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	if r := h.refused(2, "nobody is here to ask", "detach"); !strings.Contains(r.stderr, "xdpallow: hint: xdpallow detach ") || !strings.HasSuffix(r.stderr, " --yes\n") {
		t.Errorf("no hint: %s", r.stderr)
	}
	h.shut()
	before := h.status().Generation
	if out := h.must("detach", "--yes"); out != "detached eth0: every source may connect through it\nthe daemon has ended\n" {
		t.Errorf("detach said %q", out)
	}
	if code := d.ends(); code != 0 {
		t.Errorf("the daemon ended with %d:\n%s", code, d.logged())
	}
	h.open()
	h.refused(3, "nothing is pinned", "detach", "--yes")
	h.run(allowed...)
	h.healed()
	h.shut()
	// What was known is known still, but counting begins anew.
	if s := h.status(); s.Generation < before || s.Entries != 2 {
		t.Errorf("generation %d after %d, %d entries", s.Generation, before, s.Entries)
	}
}

// Promise: one of two interfaces may be opened; the daemon goes on with the other and
// does not attach the first again, whatever happens to it.
func TestDetachOneOfTwo(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	link := labtest.Must(h.lab.AddLink("eth1"))(t)
	d := h.run(append(alone, "--interface", "eth0,eth1")...)
	h.refused(1, "eth7 is not guarded", "detach", "--yes", "--interface", "eth7")
	answer := ask[api.DetachResult](h, "detach", "--yes", "--interface", "eth1")
	if len(answer.Detached) != 1 || answer.Detached[0] != "eth1" || len(answer.Left) != 1 || answer.Left[0] != "eth0" {
		t.Errorf("answer %+v", answer)
	}
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(link), netlab.Connected)
	// An event of the interface makes the daemon look at it again.
	for _, up := range []bool{false, true} {
		if err := h.lab.Host.SetUp("eth1", up); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	if h.xdp("eth1") != 0 || len(h.status().Interfaces) != 1 {
		t.Errorf("detached eth1 was attached again: %+v", h.status().Interfaces)
	}
	if s := h.status(); !s.Enforcing || len(s.Uncovered) != 1 || s.Uncovered[0] != "eth1" {
		t.Errorf("enforcing %v, uncovered %q", s.Enforcing, s.Uncovered)
	}
	h.shut()
	h.must("detach", "--yes", "--interface", "eth0")
	if code := d.ends(); code != 0 {
		t.Errorf("the daemon ended with %d:\n%s", code, d.logged())
	}
	h.open()
}

// Promise: without a daemon the command removes the pins itself, one interface at a
// time if asked so.
func TestDetachWithoutADaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	link := labtest.Must(h.lab.AddLink("eth1"))(t)
	h.run(append(alone, "--interface", "eth0,eth1")...).kill()
	h.shut()
	h.refused(1, "eth7 is not guarded", "detach", "--yes", "--interface", "eth7")
	h.must("detach", "--yes", "--interface", "eth1")
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(link), netlab.Connected)
	h.shut()
	r := h.cli("detach", "--yes")
	if r.code != 0 || !strings.Contains(r.stderr, "no daemon answers") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	h.open()
}
