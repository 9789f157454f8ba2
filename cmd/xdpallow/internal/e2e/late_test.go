package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// ready is where systemd would hear of a daemon that it started.
type ready struct {
	*net.UnixConn
	path string
}

func (h *host) ready() *ready {
	h.tb.Helper()
	path := filepath.Join(h.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	h.check(err)
	h.tb.Cleanup(func() { conn.Close() })
	return &ready{conn, path}
}

// told reports whether READY came within wait.
func (r *ready) told(h *host, wait time.Duration) bool {
	h.tb.Helper()
	h.check(r.SetReadDeadline(time.Now().Add(wait)))
	buffer := make([]byte, 4096)
	n, err := r.Read(buffer)
	return err == nil && strings.Contains(string(buffer[:n]), "READY=1")
}

// under starts a daemon as systemd would, which hears of it at r.
func (h *host) under(r *ready, args ...string) *daemon {
	h.tb.Helper()
	d := &daemon{h: h, cmd: exec.Command(binary, h.where(append([]string{"run", "--port", "8443"}, args...))...), done: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+r.path)
	d.cmd.Stdout, d.cmd.Stderr = d, d
	h.check(h.lab.Host.Start(d.cmd))
	go func() {
		_ = d.cmd.Wait() // the exit code tells
		close(d.done)
	}()
	h.tb.Cleanup(d.kill)
	return d
}

// Promise (0 gaps): a daemon is ready when the interfaces that it is to guard are guarded,
// so that what starts after it is not open on one that comes a moment later. Its program
// waits for that one, loaded. One that does not come holds the start up for seconds only.
func TestReadyWaitsForLateInterfaces(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	r := h.ready()
	d := h.under(r, append(alone, "--interface", "eth0,eth1")...)
	d.await("enforcing: the canary was dropped")
	h.broken("interface_missing", "eth1") // it answers
	if r.told(h, 50*time.Millisecond) {
		t.Error("ready without eth1")
	}
	last := lastProgram(t)
	link := labtest.Must(h.lab.AddLink("eth1"))(t)
	if !r.told(h, patience) {
		t.Fatalf("not ready:\n%s", d.logged())
	}
	device := labtest.Must(h.lab.Host.Netlink().LinkByName("eth1"))(t)
	if xdp := device.Attrs().Xdp; xdp == nil || !xdp.Attached || ebpf.ProgramID(xdp.ProgId) > last {
		t.Errorf("ready, and eth1 has %+v; want a program that was loaded before it came, %d or less", xdp, last)
	}
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(link), netlab.Dropped)
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, apiAt(link), netlab.Connected)
	d.stop()

	h.under(r, append(alone, "--interface", "eth0,eth1,nosuch0")...)
	if !r.told(h, patience) {
		t.Error("never ready, for an interface that never comes")
	}
}

// lastProgram is the newest program of this kernel.
func lastProgram(t *testing.T) (last ebpf.ProgramID) {
	t.Helper()
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		last = id
	}
	return last
}
