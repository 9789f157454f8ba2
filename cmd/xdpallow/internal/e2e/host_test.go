// Package e2e holds the shipped binary to its promises, on a host of its own made of
// namespaces: real packets, real clients, real servers, the real daemon.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// binary is the shipped binary, built once.
var binary string

func TestMain(m *testing.M) {
	if order := os.Getenv(tracerEnv); order != "" {
		if err := trace(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if at := os.Getenv(strangersEnv); at != "" {
		if err := strangers(at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "xdpallow-e2e-")
	if err == nil {
		binary, err = build(dir, "xdpallow")
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// build builds the command into dir, with more flags for go build.
func build(dir, name string, flags ...string) (string, error) {
	path := filepath.Join(dir, name)
	args := append([]string{"build", "-o", path}, flags...)
	out, err := exec.Command("go", append(args, "github.com/xdpallow/xdpallow/cmd/xdpallow")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the command: %w\n%s", err, out)
	}
	return path, nil
}

// patience is how long a test waits for a state before it calls that a hang. It is no
// promise of speed: on a machine that does ten other things a start takes many seconds.
const patience = 2 * time.Minute

// port is the protected port of every test; allowed is what listed clients need.
const port = 8443

var allowed = []string{"--allow", netlab.ListedPrefix4.String(), "--allow", netlab.ListedPrefix6.String()}

// alone is allowed without the backstop, for what XDP does by itself.
var alone = append(slices.Clone(allowed), "--backstop=off")

// host is a protected host: a lab, and the directories of one daemon.
type host struct {
	tb  testing.TB
	lab *netlab.Lab
	dir string
}

func newHost(tb testing.TB) *host {
	tb.Helper()
	// Not tb.TempDir: a mount below it would make its removal fail the test.
	dir, err := os.MkdirTemp("", "xdpallow-e2e-")
	if err != nil {
		tb.Fatal(err)
	}
	h := &host{tb: tb, lab: labtest.New(tb), dir: dir}
	tb.Cleanup(func() {
		mounts, _ := filepath.Glob(filepath.Join(h.bpffs(), "*")) // where several daemons have a root each
		for _, mount := range append(mounts, h.bpffs()) {
			for unix.Unmount(mount, unix.MNT_DETACH) == nil {
			}
		}
		os.RemoveAll(dir)
	})
	return h
}

func (h *host) bpffs() string  { return filepath.Join(h.dir, "bpf") }
func (h *host) state() string  { return filepath.Join(h.dir, "state") }
func (h *host) socket() string { return filepath.Join(h.dir, "socket") }

func (h *host) link() *netlab.Link { return h.lab.Link("eth0") }

func (h *host) api4() netip.AddrPort { return netip.AddrPortFrom(h.link().Host4, port) }
func (h *host) api6() netip.AddrPort { return netip.AddrPortFrom(h.link().Host6, port) }

// serve starts a real HTTP API on the protected port of every address.
func (h *host) serve() {
	h.tb.Helper()
	labtest.ServeHTTP(h.tb, h.lab.Host, fmt.Sprintf(":%d", port), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
	}))
}

// where are the flags that keep this daemon apart from every other.
func (h *host) where(args []string) []string {
	own := []string{"--socket", h.socket()}
	switch args[0] {
	case "run", "status", "list", "export", "stats", "check", "history", "owners", "detach", "doctor":
		own = append(own, "--state", h.state(), "--bpffs", h.bpffs())
	case "fleet": // speaks with no daemon
		own = nil
	}
	return append(append([]string{args[0]}, own...), args[1:]...)
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// cli runs one command in the host's namespace to its end.
func (h *host) cli(args ...string) result {
	h.tb.Helper()
	return h.feed("", args...)
}

// feed is cli with a standard input.
func (h *host) feed(stdin string, args ...string) result {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, h.where(args)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := h.lab.Host.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.tb.Fatalf("xdpallow %v: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must is cli that has to exit with 0; it returns stdout.
func (h *host) must(args ...string) string {
	h.tb.Helper()
	r := h.cli(args...)
	if r.code != 0 {
		h.tb.Fatalf("xdpallow %v: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// ask runs a command with -o json.
func ask[T any](h *host, args ...string) (answer T) {
	h.tb.Helper()
	text := h.must(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		h.tb.Fatalf("xdpallow %v: %v\n%s", args, err, text)
	}
	return answer
}

func (h *host) status() api.Status { return ask[api.Status](h, "status") }

// packets sums the counters that have all of the given words: an interface, a
// verdict, a reason, a family. The backstop counts some packets again: its own are
// summed when the word backstop is given.
func (h *host) packets(words ...string) (packets uint64) {
	h.tb.Helper()
	for _, c := range ask[api.Stats](h, "stats").Counters {
		text := fmt.Sprintf(" %s %s %s %s %s ", c.Interface, c.Layer, c.Verdict, c.Reason, c.Family)
		all := (c.Layer == "backstop") == slices.Contains(words, "backstop")
		for _, word := range words {
			all = all && strings.Contains(text, " "+word+" ")
		}
		if all {
			packets += c.Packets
		}
	}
	return packets
}

// daemon is a running `xdpallow run`.
type daemon struct {
	h    *host
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended

	mu  sync.Mutex
	log bytes.Buffer
}

func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.Write(p)
}

func (d *daemon) logged() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// start starts `run` of the given binary on eth0 and the protected port, unless args
// name others, and does not wait.
func (h *host) start(path string, args ...string) *daemon {
	h.tb.Helper()
	all := []string{"run"}
	joined := strings.Join(args, " ")
	configured := strings.Contains(joined, "--config")
	if !configured && !strings.Contains(joined, "--interface") {
		all = append(all, "--interface", "eth0")
	}
	if !configured && !strings.Contains(joined, "--port") {
		all = append(all, "--port", fmt.Sprint(port))
	}
	d := &daemon{h: h, cmd: exec.Command(path, h.where(append(all, args...))...), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := h.lab.Host.Start(d.cmd); err != nil {
		h.tb.Fatalf("start the daemon: %v", err)
	}
	go func() {
		_ = d.cmd.Wait() // the exit code tells
		close(d.done)
	}()
	h.tb.Cleanup(d.kill)
	return d
}

// run starts a daemon with the shipped binary and waits until it says that it
// enforces or audits.
func (h *host) run(args ...string) *daemon {
	h.tb.Helper()
	d := h.start(binary, args...)
	d.await("enforcing: the canary was dropped", "audit: nothing is dropped")
	return d
}

// await waits until one of the texts was logged.
func (d *daemon) await(texts ...string) {
	d.h.tb.Helper()
	deadline := time.After(patience)
	for {
		for _, text := range texts {
			if strings.Contains(d.logged(), text) {
				return
			}
		}
		select {
		case <-d.done:
			d.h.tb.Fatalf("the daemon ended with %d before it logged %q:\n%s", d.cmd.ProcessState.ExitCode(), texts, d.logged())
		case <-deadline:
			d.h.tb.Fatalf("the daemon never logged %q:\n%s", texts, d.logged())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ends waits for the end of the process and returns its exit code.
func (d *daemon) ends() int {
	d.h.tb.Helper()
	select {
	case <-d.done:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		d.h.tb.Fatalf("the daemon does not end:\n%s", d.logged())
		return -1
	}
}

// stop ends the daemon as systemd does.
func (d *daemon) stop() {
	d.h.tb.Helper()
	_ = d.cmd.Process.Signal(unix.SIGTERM)
	if code := d.ends(); code != 0 {
		d.h.tb.Errorf("the daemon ended with %d:\n%s", code, d.logged())
	}
}

// kill ends the daemon as the OOM killer does.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	<-d.done
}

// reboot leaves what a reboot leaves: the state directory, and no pins.
func (h *host) reboot() {
	h.tb.Helper()
	if err := unix.Unmount(h.bpffs(), 0); err != nil {
		h.tb.Fatalf("reboot: %v", err)
	}
	h.eventually("the program goes with the pins", func() bool {
		link, err := h.lab.Host.Netlink().LinkByName("eth0")
		return err == nil && (link.Attrs().Xdp == nil || !link.Attrs().Xdp.Attached)
	})
}

// eventually waits for what the kernel or the daemon does in its own time.
func (h *host) eventually(what string, happened func() bool) {
	h.tb.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.tb.Fatalf("%s: not within %v", what, patience)
		}
	}
}
