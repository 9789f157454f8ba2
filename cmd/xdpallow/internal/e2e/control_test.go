package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// The users and groups of the tests.
const (
	nobody    = 65534
	readGroup = 64001

	groups = "root:x:0:\nxdpallow:x:64001:viewer\nxdpallow-admin:x:64002:\n"
	users  = "root:x:0:0::/:/bin/sh\nviewer:x:64010:64003::/:/bin/false\n"
)

// credentials are what a process shows. The daemon takes the groups of the process from
// the kernel: those beside gid count as gid does, whatever the group database says.
type credentials struct {
	name     string
	uid, gid int
	groups   string // of --groups of setpriv
}

// as runs a command as another user, on a copy of the binary that he may execute.
func (h *host) as(who credentials, args ...string) result {
	h.tb.Helper()
	path := filepath.Join(h.dir, "xdpallow")
	if _, err := os.Stat(path); err != nil {
		if out, err := exec.Command("cp", binary, path).CombinedOutput(); err != nil {
			h.tb.Fatalf("copy the binary: %v\n%s", err, out)
		}
	}
	words := []string{"--reuid", fmt.Sprint(who.uid), "--regid", fmt.Sprint(who.gid), "--groups", who.groups, path}
	cmd := exec.Command("setpriv", append(words, h.where(args)...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := h.lab.Host.Start(cmd); err != nil {
		h.tb.Fatal(err)
	}
	_ = cmd.Wait() // the exit code tells
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// withUsers starts a daemon for which the files are /etc/group and /etc/passwd.
func (h *host) withUsers(group, passwd string) *daemon {
	h.tb.Helper()
	if err := os.Chmod(h.dir, 0o755); err != nil {
		h.tb.Fatal(err)
	}
	h.ownPins()
	d := h.private(fmt.Sprintf("mount --bind %s /etc/group\nmount --bind %s /etc/passwd", h.file("group", group), h.file("passwd", passwd)), allowed...)
	d.await("enforcing: the canary was dropped")
	return d
}

// ownPins mounts the BPF file system: what a daemon in a mount namespace of its own mounts would go with it.
func (h *host) ownPins() {
	h.tb.Helper()
	if err := os.MkdirAll(h.bpffs(), 0o700); err != nil {
		h.tb.Fatal(err)
	}
	if err := unix.Mount("bpf", h.bpffs(), "bpf", 0, "mode=0700"); err != nil {
		h.tb.Fatal(err)
	}
}

// Promise: group xdpallow reads, xdpallow-admin and root write, and nobody else even
// connects; who may not is told so with exit 4, and changes nothing.
func TestWhoMayUseTheSocket(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.withUsers(groups, users)
	var stat unix.Stat_t
	if err := unix.Stat(h.socket(), &stat); err != nil || stat.Mode&0o777 != 0o660 || stat.Uid != 0 || stat.Gid != readGroup {
		t.Errorf("the socket is %o %d:%d (%v), want 660 0:%d", stat.Mode&0o777, stat.Uid, stat.Gid, err, readGroup)
	}
	for _, c := range []struct {
		credentials
		read, write int // exit codes
	}{
		{credentials{"nobody", nobody, nobody, "65534"}, 4, 4},
		{credentials{"the group of the process, of which no database knows", nobody, nobody, "64001"}, 0, 4},
		{credentials{"both groups of the process, of which no database knows", nobody, nobody, "64001,64002"}, 0, 0},
		{credentials{"xdpallow", nobody, readGroup, "64001"}, 0, 4},
		{credentials{"xdpallow by the database", 64010, 64003, "64001"}, 0, 4},
		{credentials{"xdpallow-admin", nobody, 64002, "64001"}, 0, 0},
		{credentials{"root", 0, 0, "0"}, 0, 0},
	} {
		for i, command := range [][]string{{"status"}, {"list"}, {"stats"}, {"add", "192.0.2.9"}, {"remove", "192.0.2.9"}, {"reload"}, {"detach", "--yes", "--interface", "eth7"}} {
			want := c.read
			if i > 2 {
				want = c.write
			}
			if command[0] == "detach" && want == 0 {
				continue // a refusal of another kind
			}
			r := h.as(c.credentials, command...)
			if r.code != want || want != 0 && !strings.HasPrefix(r.stderr, "xdpallow: error: ") {
				t.Errorf("%s, %q: exit %d, want %d\n%s%s", c.name, command, r.code, want, r.stdout, r.stderr)
			}
		}
	}
	if s := h.status(); s.Entries != len(allowed)/2 {
		t.Errorf("%d prefixes, want the %d of the start", s.Entries, len(allowed)/2)
	}
	h.shut()
}

// Promise: a group that does not exist is nobody: the socket is root's alone.
func TestSocketWithoutTheGroup(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.withUsers("root:x:0:\n", users)
	var stat unix.Stat_t
	if err := unix.Stat(h.socket(), &stat); err != nil || stat.Mode&0o777 != 0o600 || stat.Uid != 0 || stat.Gid != 0 {
		t.Errorf("the socket is %o %d:%d (%v), want 600 0:0", stat.Mode&0o777, stat.Uid, stat.Gid, err)
	}
	if r := h.as(credentials{"", nobody, readGroup, "64001"}, "status"); r.code != 4 {
		t.Errorf("exit %d, want 4: %s", r.code, r.stderr)
	}
	if r := h.as(credentials{"", nobody, nobody, "65534"}, "add", netlab.Unlisted4.String()); r.code != 4 {
		t.Errorf("exit %d, want 4: %s", r.code, r.stderr)
	}
}
