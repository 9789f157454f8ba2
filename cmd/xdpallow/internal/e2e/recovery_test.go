package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: a directory that cannot be read takes nobody's place away. It may be a mount
// that is late.
func TestVanishedDirectoryKeepsItsCustomers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dir := h.listDirectory()
	h.run("--allow", "192.0.2.0/24", "--allow-file", dir).stop()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	h.run("--allow", "192.0.2.0/24", "--allow-file", dir)
	if r := h.cli("check", netlab.Listed4.String()); r.code != 0 {
		t.Errorf("the customer of a file that is away: %+v", r)
	}
	if status := h.status(); len(status.Problems) != 1 || status.Problems[0].Code != "origin_failing" || !status.Enforcing {
		t.Errorf("problems are %+v", status.Problems)
	}
}

// Promise: an acknowledged change, and only that, survives. A change that failed on a
// full disk is not there after a restart either.
func TestFailedChangeIsNoChange(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	list := h.file("acme.list", "198.18.0.0/24\n")
	with := append(slices.Clone(allowed), "--allow-file", list)
	d := h.run(with...)
	h.must("add", "192.0.2.0/24")
	h.followed()
	// Where the list of the generation before goes, nothing can be written. What is
	// declared stands there alone.
	previous := filepath.Join(h.state(), "effective.list.prev")
	if err := os.RemoveAll(previous); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(previous, 0o700); err != nil {
		t.Fatal(err)
	}
	h.file("acme.list", "198.18.7.0/24\n")
	if r := h.cli("reload"); r.code != 1 {
		t.Fatalf("reload on a disk that fails: %+v", r)
	}
	h.file("acme.list", "198.18.0.0/24\n")
	// What the CLI makes stands in the database, where nothing can be written now.
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"add", "198.18.7.0/24"}, {"remove", "192.0.2.0/24"}} {
		if r := h.cli(args...); r.code != 1 {
			t.Fatalf("xdpallow %v on a disk that fails: %+v", args, r)
		}
	}
	before := h.must("list", "-o", "text")
	d.kill()
	if err := os.Remove(previous); err != nil {
		t.Fatal(err)
	}
	h.run(with...)
	if after := h.must("list", "-o", "text"); after != before || !strings.Contains(after, "192.0.2.0/24") || strings.Contains(after, "198.18.7.0") {
		t.Errorf("before the restart:\n%safter it:\n%s", before, after)
	}
	for address, want := range map[string]int{"192.0.2.1": 0, "198.18.7.1": 1} {
		if r := h.cli("check", address); r.code != want {
			t.Errorf("check %s: %+v, want exit %d", address, r, want)
		}
	}
}

// Promise: the gate comes up before all that can fail beside it. A metrics address that
// that cannot be had yet is a problem, and served when it can.
func TestLateMetricsAddress(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	taken, err := h.lab.Host.Listen("tcp", "127.0.0.1:9463")
	if err != nil {
		t.Fatal(err)
	}
	h.run(append(allowed, "--metrics", "127.0.0.1:9463")...)
	h.serve()
	h.shut()
	has := func() bool {
		for _, p := range h.status().Problems {
			if p.Code == "metrics" {
				return true
			}
		}
		return false
	}
	h.eventually("the problem is seen", has)
	if !h.status().Enforcing {
		t.Error("metrics that are not served do not open the gate")
	}
	taken.Close()
	h.eventually("metrics are served", func() bool { return !has() })
}

// Promise: a list file that is a pipe cannot stop the daemon.
func TestPipeIsNoListFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dir := h.listDirectory()
	d := h.run("--allow-file", dir)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe.list"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := h.cli("reload"); r.code != 2 || !strings.Contains(r.stderr, "pipe.list") || !strings.Contains(r.stderr, "not a regular file") {
		t.Errorf("reload with a pipe: %+v", r)
	}
	h.must("status")
	d.stop()
}

// Promise: who takes our backstop off is seen, and it is put back.
func TestBackstopIsPutBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run(allowed...)
	if err := h.pinnedLink("backstop").Detach(); err != nil {
		t.Fatal(err)
	}
	broken := h.status()
	// Or it is put back already, because an interface changed in the same moment.
	_, seen := problem(broken, "repaired", "backstop")
	if !seen && (broken.Enforcing || broken.Backstop == nil || broken.Backstop.Attached) {
		t.Errorf("detached behind the daemon: %+v", broken)
	}
	h.eventually("the backstop is back", func() bool {
		s := h.status()
		return s.Enforcing && s.Backstop != nil && s.Backstop.Attached
	})
}

// Promise: an interface that was renamed while no daemon ran is still ours: no gap, and
// its counters go on.
func TestRenamedInterfaceIsAdopted(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(alone...).stop()
	h.shut()
	dropped := h.packets("drop", "not_listed")
	nl := h.lab.Host.Netlink()
	device := labtest.Must(nl.LinkByName("eth0"))(t)
	// A running interface may be renamed since Linux 6.2 only with the flag; down it may.
	for _, err := range []error{nl.LinkSetDown(device), nl.LinkSetName(device, "wan0"), nl.LinkSetUp(device)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d := h.run(append(alone, "--interface", "wan0")...)
	if log := d.logged(); !strings.Contains(log, "wan0: adopted (native), no gap") {
		t.Errorf("log:\n%s", log)
	}
	if s := h.status(); !s.Enforcing || len(s.Interfaces) != 1 || s.Interfaces[0].Name != "wan0" {
		t.Errorf("status: %+v", s)
	}
	if now := h.packets("drop", "not_listed"); now < dropped || dropped == 0 {
		t.Errorf("%d drops were counted, and %d now", dropped, now)
	}
}

// listDirectory makes a directory with the one list of the listed client.
func (h *host) listDirectory() string {
	h.tb.Helper()
	dir := filepath.Join(h.dir, "allow.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.tb.Fatal(err)
	}
	write(h.tb, filepath.Join(dir, "acme.list"), netlab.ListedPrefix4.String()+"\n")
	return dir
}

// Promise: an entry for a service that is no longer made is kept and lets nobody in; it
// does not keep the daemon from starting, which alone could take it away.
func TestEntryOfAGoneServiceIsKept(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	config := filepath.Join(h.dir, "config.yaml")
	write(t, config, "interfaces: [eth0]\nservices: {web: {ports: [8443]}}\nallow: [192.0.2.0/24]\n")
	h.run("--config", config).stop()
	d := h.run("--config", config)
	h.must("add", "198.18.9.0/24", "--service", "web")
	d.stop()

	d = h.run(allowed...)
	if p := h.broken("service_missing", "cli"); !strings.Contains(p.Text, "1 entry") || !h.status().Enforcing {
		t.Errorf("problem: %+v", p)
	}
	if r := h.cli("check", "198.18.9.1"); r.code != 1 {
		t.Errorf("an entry without a service lets in: %+v", r)
	}
	d.stop()
	h.run("--config", config)
	if r := h.cli("check", "198.18.9.1"); r.code != 0 {
		t.Errorf("with its service again: %+v", r)
	}
}

// Promise: a start that is refused beside a gate that is up leaves nothing of its own.
func TestRefusedStartTakesItsInterfacesOff(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	labtest.Must(h.lab.AddLink("eth1"))(t)
	h.run(allowed...).stop()
	d := h.start(binary, append(allowed, "--interface", "eth0,eth1", "--allow", "0.0.0.0/0")...)
	if code := d.ends(); code != 1 || !strings.Contains(d.logged(), "0.0.0.0/0") {
		t.Errorf("exit %d:\n%s", code, d.logged())
	}
	if h.xdp("eth1") != 0 {
		t.Error("eth1 was left attached")
	}
	h.shut()
}

// Promise: what add acknowledged is kept even when the effective list beside it cannot be
// written; that is a problem that opens nothing, and is over when it can.
func TestListThatCannotFollow(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.run(allowed...)
	previous := filepath.Join(h.state(), "effective.list.prev")
	if err := errors.Join(os.RemoveAll(previous), os.Mkdir(previous, 0o700)); err != nil {
		t.Fatal(err)
	}
	h.must("add", "192.0.2.0/24")
	behind := func() bool {
		_, found := problem(h.status(), "list_behind", h.state())
		return found
	}
	h.eventually("the problem is seen", behind)
	if !h.status().Enforcing {
		t.Error("a list that cannot be written does not open the gate")
	}
	if err := os.Remove(previous); err != nil {
		t.Fatal(err)
	}
	h.eventually("the problem is over", func() bool { return !behind() })
	h.followed()
	h.must("add", "198.51.100.0/24")
	d.kill() // before the list follows
	for _, daemon := range []bool{false, true} {
		if daemon {
			h.run(allowed...)
		}
		if list := h.must("list", "-o", "text"); !strings.Contains(list, "192.0.2.0/24") || !strings.Contains(list, "198.51.100.0/24") {
			t.Errorf("with a daemon %v: %s", daemon, list)
		}
	}
}
