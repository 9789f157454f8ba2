package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Promise (0 leaks): with the daemon dead, a daemon in another network namespace that was
// given the same pin root leaves the gate alone, and every command there says of which
// namespace the gate is, instead of guessing.
func TestAnotherNamespace(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(allowed...).kill()
	away := func(args ...string) result {
		t.Helper()
		cmd := exec.Command(binary, args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		h.check(h.lab.Wire.Start(cmd))
		_ = cmd.Wait() // the exit code tells
		return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	}
	run := append([]string{"run", "--socket", filepath.Join(h.dir, "s"), "--state", filepath.Join(h.dir, "other"), "--bpffs", h.bpffs(), "--interface", "eth0", "--port", "8443"}, allowed...)
	for _, args := range [][]string{
		run, h.where([]string{"status"}), h.where([]string{"list"}), h.where([]string{"stats"}), h.where([]string{"detach", "--yes"}),
	} {
		r := away(args...)
		if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "of another network namespace ("+h.lab.Host.Path()+")") ||
			!strings.Contains(r.stderr, "hint: nsenter --net="+h.lab.Host.Path()+" xdpallow status --bpffs "+h.bpffs()) {
			t.Errorf("xdpallow %v in another namespace: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
		h.knock(netlab.Connected, netlab.Dropped)
	}
	h.run(allowed...)
	h.shut()
}
