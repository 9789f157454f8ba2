// This file runs the shipped daemon on a host of its own, and times its commands.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// shipped is the command under test, as `make build` makes it.
var shipped = "build/xdpallow"

const (
	metricsAddr = "127.0.0.1:9463"
	hang        = 20 * time.Minute // after which a command is taken for stuck
)

// world is a host with a daemon, and what the daemon keeps.
type world struct {
	lab    *netlab.Lab
	dir    string
	flags  []string  // of run, beside those that each run has
	daemon *exec.Cmd // nil when none runs
	log    bytes.Buffer
	memory *memory
}

func newWorld() (*world, error) {
	lab, err := netlab.New("bench")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "xdpallow-bench-")
	return &world{lab: lab, dir: dir}, err
}

// close ends the daemon and removes all that it left.
func (w *world) close() error {
	err := w.stop()
	for unix.Unmount(w.file("bpf"), unix.MNT_DETACH) == nil {
	}
	return errors.Join(err, w.lab.Close(), os.RemoveAll(w.dir))
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// start starts the daemon and returns how long it took until it said that it is ready, which
// it does when it enforces.
func (w *world) start() (time.Duration, error) {
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: w.file("notify"), Net: "unixgram"})
	if err != nil {
		return 0, err
	}
	defer os.Remove(w.file("notify"))
	defer ready.Close()
	w.log.Reset()
	w.daemon = exec.Command(shipped, "run", "--interface", "eth0", "--port", fmt.Sprint(port), "--allow-empty", "--metrics", metricsAddr,
		"--socket", w.file("socket"), "--state", w.file("state"), "--bpffs", w.file("bpf"))
	w.daemon.Args = append(w.daemon.Args, w.flags...)
	w.daemon.Stderr = &w.log
	w.daemon.Env = append(os.Environ(), "NOTIFY_SOCKET="+w.file("notify"))
	begin := time.Now()
	if err := w.lab.Host.Start(w.daemon); err != nil {
		w.daemon = nil
		return 0, err
	}
	w.memory = watchMemory(w.daemon.Process.Pid)
	message := make([]byte, 4096)
	for ready.SetReadDeadline(begin.Add(hang)) == nil {
		n, err := ready.Read(message)
		if err != nil {
			return 0, fmt.Errorf("wait for the daemon: %w\n%s", err, w.log.Bytes())
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			break
		}
	}
	return time.Since(begin), nil
}

// stop ends the daemon, if one runs. The gate stays up.
func (w *world) stop() error {
	if w.daemon == nil {
		return nil
	}
	err := w.daemon.Process.Signal(unix.SIGTERM)
	if err == nil {
		err = w.daemon.Wait()
	}
	w.daemon = nil
	w.memory.stop()
	if err != nil {
		return fmt.Errorf("end the daemon: %w\n%s", err, w.log.Bytes())
	}
	return nil
}

// do times a command, whose output goes to no terminal. The process is part of the time, as
// it is for whoever types the command.
func (w *world) do(args ...string) (time.Duration, error) { return w.feed("", args...) }

// feed is do with a standard input.
func (w *world) feed(stdin string, args ...string) (time.Duration, error) {
	where := []string{args[0], "--socket", w.file("socket")}
	if args[0] == "detach" {
		where = append(where, "--state", w.file("state"), "--bpffs", w.file("bpf"))
	}
	return timed(w.lab, stdin, append(append([]string{shipped}, where...), args[1:]...)...)
}

// timed times a command on the host of a lab.
func timed(lab *netlab.Lab, stdin string, argv ...string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var mistakes bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), null, &mistakes
	begin := time.Now()
	err = lab.Host.Start(command)
	if err == nil {
		err = command.Wait()
	}
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %.500s", strings.Join(argv, " "), err, bytes.TrimSpace(mistakes.Bytes()))
	}
	return took, nil
}

// unread has so many ask for the list who read nothing of it, and returns how many bytes the daemon
// keeps when each was answered.
func (w *world) unread(askers int) (kept uint64, err error) {
	for range askers {
		conn, err := net.Dial("unix", w.file("socket"))
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /v1/entries?format=text HTTP/1.1\r\nHost: xdpallow\r\n\r\n"); err != nil {
			return 0, err
		}
	}
	time.Sleep(10 * time.Second) // over what a third waits for its turn
	return w.memory.now(), nil
}

// scrape times one reading of the metrics.
func (w *world) scrape() (time.Duration, error) {
	begin := time.Now()
	response, err := w.lab.Host.HTTPClient(netip.MustParseAddr("127.0.0.1"), time.Minute).Get("http://" + metricsAddr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return time.Since(begin), err
}
