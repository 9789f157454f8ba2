package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// silent mounts a file system that answers nobody, as a stale NFS does.
func (h *host) silent() string {
	h.tb.Helper()
	dir, err := os.MkdirTemp("", "xdpallow-silent-") // not beside the pins, where others are looked for
	if err != nil {
		h.tb.Fatal(err)
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		err = unix.Mount("silent", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd()))
	}
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() {
		device.Close() // who waits for an answer is let go
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		os.Remove(dir)
	})
	return dir
}

// Promise: a list file that does not answer keeps nobody from anything: questions and
// changes go on, the reload fails with its name, the daemon ends when it is told to, and
// a start enforces what the file said last.
func TestListFileThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	dir := h.listDirectory()
	d := h.run("--allow-file", dir)
	if err := os.Symlink(filepath.Join(h.silent(), "late.list"), filepath.Join(dir, "late.list")); err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan result, 1)
	go func() { reloaded <- h.cli("reload") }()
	for n := range 3 { // some of them while the reload waits
		h.must("status")
		h.must("add", fmt.Sprintf("198.51.100.%d", n))
		time.Sleep(100 * time.Millisecond)
	}
	select {
	case r := <-reloaded:
		t.Errorf("the reload did not wait: %+v", r)
	default:
	}
	if r := <-reloaded; r.code == 0 || !strings.Contains(r.stderr, filepath.Join(dir, "late.list")) || !strings.Contains(r.stderr, "does not answer") {
		t.Errorf("reload: %+v", r)
	}
	go h.cli("reload")
	h.must("status")
	d.stop()

	h.run("--allow-file", dir)
	h.broken("origin_failing", "file:"+filepath.Join(dir, "late.list"))
	h.oneSYN(netlab.Listed4, h.api4(), netlab.Connected)
	h.shut()
}

// Promise: a file that is no list is not quoted: it may be one that only root may read.
func TestForeignFileIsNotQuoted(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dir := h.listDirectory()
	h.run("--allow-file", dir)
	secret := h.file("secret", "hunter2hunter2 is the key\nroot:$6$abcdef:19000\n")
	if err := os.Symlink(secret, filepath.Join(dir, "secret.list")); err != nil {
		t.Fatal(err)
	}
	r := h.cli("reload")
	if said := r.stdout + r.stderr + h.must("status") + h.must("status", "-o", "json"); r.code != 2 || !strings.Contains(r.stderr, "secret.list:1: ") ||
		strings.Contains(said, "hunter2") || strings.Contains(said, "root:") {
		t.Errorf("exit %d: %s", r.code, said)
	}
}
