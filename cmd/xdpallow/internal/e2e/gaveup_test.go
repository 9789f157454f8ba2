package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: a change whose caller gave up before the daemon came to it is not made, and the
// caller is told that he does not know, and how to find out.
func TestWhoGaveUpIsNotServed(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.run(allowed...)
	if err := d.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Signal(unix.SIGCONT) })
	h.eventually("every thread of the daemon is stopped", func() bool { return stopped(t, d.cmd.Process.Pid) })
	for range 3 {
		client := exec.Command(binary, h.where([]string{"mode", "audit", "--for", "10m"})...)
		var stderr bytes.Buffer
		client.Stderr = &stderr
		if err := h.lab.Host.Start(client); err != nil {
			t.Fatal(err)
		}
		h.eventually("the request waits in the socket", func() bool {
			// The client waits for an answer: it has written the request, and sleeps.
			fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", client.Process.Pid))
			for _, fd := range fds {
				to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", client.Process.Pid, fd.Name()))
				if strings.HasPrefix(to, "socket:") {
					return true
				}
			}
			return false
		})
		time.Sleep(200 * time.Millisecond) // for the bytes that follow the connection; less tests less
		if err := client.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = client.Wait() // the exit code tells
		if code := client.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "not known whether it was made") ||
			!strings.Contains(stderr.String(), "xdpallow: hint: xdpallow history -n 1 --socket "+h.socket()) {
			t.Errorf("exit %d: %s", code, stderr.String())
		}
	}
	if err := d.cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		for _, s := range h.status().Services {
			if s.Mode != policy.Enforce {
				t.Fatalf("carried out for a caller who had gone: %+v", s)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	if history := h.must("history"); strings.Contains(history, "mode audit") {
		t.Errorf("the history has it:\n%s", history)
	}
	h.must("mode", "audit", "--for", "10m") // who waits is served
}

// stopped reports whether no thread of a process runs any more: a signal to stop is sent at
// once, and takes effect thread by thread.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(stat), ") T ") {
			return false
		}
	}
	return true
}
