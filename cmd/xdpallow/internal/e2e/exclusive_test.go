package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// neighbour is another set of directories on the same host.
func (h *host) neighbour() *host {
	h.tb.Helper()
	dir, err := os.MkdirTemp("", "xdpallow-e2e-")
	if err != nil {
		h.tb.Fatal(err)
	}
	n := &host{tb: h.tb, lab: h.lab, dir: dir}
	h.tb.Cleanup(func() {
		for unix.Unmount(n.bpffs(), unix.MNT_DETACH) == nil {
		}
		os.RemoveAll(dir)
	})
	return n
}

// Promise: one daemon a state directory, a socket, a pin root. The second names the
// first and what it has, ends with 1, and has touched nothing of anybody's.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	first := h.run(allowed...)
	labtest.Must(h.lab.AddLink("eth1"))(t)
	pid := fmt.Sprintf("pid %d", first.cmd.Process.Pid)
	for _, c := range []struct {
		shared string
		args   []string
		path   string // that is named
	}{
		{"everything", []string{"--state", h.state(), "--socket", h.socket(), "--bpffs", h.bpffs()}, h.dir},
		{"state", []string{"--state", h.state()}, h.state()},
		{"socket", []string{"--socket", h.socket()}, h.socket()},
		{"pins", []string{"--bpffs", h.bpffs()}, h.bpffs()},
	} {
		second := h.neighbour()
		before := h.picture()
		d := second.start(binary, append(append(allowed, "--interface", "eth1", "--allow", "192.0.2.0/24"), c.args...)...)
		code := d.ends()
		h.unchanged(before, "a second daemon with the same "+c.shared)
		if code != 1 || !strings.HasPrefix(d.logged(), "xdpallow: error: ") || !strings.Contains(d.logged(), pid) || !strings.Contains(d.logged(), c.path) {
			t.Errorf("same %s: exit %d, want 1, %s and %s:\n%s", c.shared, code, pid, c.path, d.logged())
		}
		if h.xdp("eth1") != 0 {
			t.Errorf("same %s: the second daemon attached", c.shared)
		}
		if _, err := os.Stat(second.socket()); err == nil {
			t.Errorf("same %s: the second daemon left a socket", c.shared)
		}
	}
	h.must("add", "192.0.2.0/24")
	h.shut()
}

// Promise: two daemons that share nothing do not disturb each other.
func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	link := labtest.Must(h.lab.AddLink("eth1"))(t)
	n := h.neighbour()
	h.run(alone...)
	second := n.run("--backstop=off", "--interface", "eth1", "--allow", netlab.UnlistedPrefix4.String())
	h.shut()
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(link), netlab.Connected)
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, apiAt(link), netlab.Dropped)
	n.must("detach", "--yes")
	if code := second.ends(); code != 0 {
		t.Errorf("the second daemon ended with %d:\n%s", code, second.logged())
	}
	h.healed()
	h.shut()
}

// private starts run in a mount namespace of its own, after the shell commands.
func (h *host) private(before string, args ...string) *daemon {
	h.tb.Helper()
	script := filepath.Join(h.dir, "private")
	text := fmt.Sprintf("#!/bin/sh\nexec unshare --mount /bin/sh -ec '%s\nexec \"$@\"' sh %s \"$@\"\n", before, binary)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		h.tb.Fatal(err)
	}
	return h.start(script, args...)
}

// Promise: in a private mount namespace no BPF file system is mounted, because the
// pins would end with the process and open the host: refused, with what to type.
// Where one is there from the host, all is well.
func TestPrivateMountNamespace(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.private("", allowed...)
	code := d.ends()
	if code != 1 || !strings.Contains(d.logged(), "xdpallow: error: "+h.bpffs()+" is not on a BPF file system") ||
		!strings.Contains(d.logged(), "xdpallow: hint: mount -t bpf bpf "+h.bpffs()+"\n") || !strings.Contains(d.logged(), "nsenter --net=") {
		t.Errorf("exit %d, want 1 with a hint:\n%s", code, d.logged())
	}
	if h.xdp("eth0") != 0 {
		t.Error("it attached nevertheless")
	}
	h.knock(netlab.Connected, netlab.Connected)

	// The hint.
	if err := os.MkdirAll(h.bpffs(), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "bpf", "bpf", h.bpffs()).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	d = h.private("", allowed...)
	d.await("enforcing: the canary was dropped")
	d.kill()
	h.shut()
}

// Promise: a start that cannot put the whole gate up says why, and leaves no part of
// one behind: pins where nothing can be pinned, metrics where something else listens.
func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(allowed...)
	h.must("detach", "--yes")
	h.open()
	if err := unix.Mount("", h.bpffs(), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	d := h.start(binary, allowed...)
	if code := d.ends(); code != 1 || !strings.Contains(d.logged(), "xdpallow: error: ") || !strings.Contains(d.logged(), "read-only file system") {
		t.Errorf("exit %d, want 1:\n%s", code, d.logged())
	}
	h.open()
}

// Promise: a BPF file system that is not there is mounted where the mount outlives
// the daemon, closed to others.
func TestMissingBPFFSIsMounted(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(allowed...).kill()
	var stat unix.Statfs_t
	if err := unix.Statfs(h.bpffs(), &stat); err != nil || stat.Type != unix.BPF_FS_MAGIC {
		t.Errorf("%s is no BPF file system after the daemon's end: %v", h.bpffs(), err)
	}
	if info, err := os.Stat(h.bpffs()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v (%v), want 0700", info.Mode(), err)
	}
	h.shut()
}
