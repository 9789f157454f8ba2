package demo

// This file has the parts of the demo's steps: the real daemon and the real commands as
// processes in the host's namespace, and real clients on the wire.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

const (
	self    = "/proc/self/exe"
	patient = 5 * time.Second
	// Two SYNs fit into it: what is dropped is dropped twice.
	impatient = 1500 * time.Millisecond
)

var errSurprise = errors.New("not as told")

func orSurprise(err error) error {
	if err != nil {
		return err
	}
	return errSurprise
}

// process is a child that runs until it is stopped.
type process struct{ *exec.Cmd }

func (p *process) stop(signal unix.Signal) error {
	if err := p.Process.Signal(signal); err != nil {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	return nil
}

// called gives the host of this thread, and of what it starts, a name of its own; "" keeps it.
func called(name string) error {
	if name == "" {
		return nil
	}
	return errors.Join(unix.Unshare(unix.CLONE_NEWUTS), unix.Sethostname([]byte(name)))
}

// startDaemon runs the daemon on the host and shows its log until it enforces.
func (d *demonstration) startDaemon(ctx context.Context, args ...string) (*process, error) {
	d.say("$ xdpallow run %s", strings.Join(args, " "))
	args = append([]string{"run", "--state", filepath.Join(d.dir, "state"), "--socket", d.socket(), "--bpffs", d.pins()}, args...)
	cmd := exec.CommandContext(ctx, self, args...)
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	if err := d.lab.Host.Do(func() error { return errors.Join(called(d.name), cmd.Start()) }); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	lines := make(chan string, 64)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(log); in.Scan(); {
			select {
			case lines <- in.Text():
			default: // nobody reads any more
			}
		}
	}()
	p := &process{cmd}
	for {
		select {
		case line, open := <-lines:
			if !open {
				return nil, errors.Join(errors.New("the daemon ended"), p.Wait())
			}
			d.say("%s", line)
			if strings.Contains(line, "enforcing: the canary was dropped") {
				return p, nil
			}
		case <-time.After(2 * patient):
			return p, errors.New("the daemon does not enforce")
		}
	}
}

// command runs one command against the daemon or, without one, the pins.
func (d *demonstration) command(ctx context.Context, args ...string) error {
	d.say("$ xdpallow %s", strings.Join(args, " "))
	text, err := d.ask(ctx, args...)
	for line := range strings.Lines(text) {
		d.say("%s", strings.TrimRight(line, "\n"))
	}
	return err
}

func (d *demonstration) ask(ctx context.Context, args ...string) (string, error) {
	args = append(args, "--socket", d.socket())
	if args[0] == "detach" {
		args = append(args, "--state", filepath.Join(d.dir, "state"), "--bpffs", d.pins())
	}
	// On the host of the lab, as an operator would: a gate that is pinned is opened from
	// its own network namespace only.
	command := exec.CommandContext(ctx, self, args...)
	var text bytes.Buffer
	command.Stdout, command.Stderr = &text, &text
	err := d.lab.Host.Start(command)
	if err == nil {
		err = command.Wait()
	}
	if err != nil {
		return text.String(), fmt.Errorf("xdpallow %s: %w", args[0], err)
	}
	return text.String(), nil
}

// read asks a command for JSON.
func (d *demonstration) read(ctx context.Context, answer any, args ...string) error {
	text, err := d.ask(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		return fmt.Errorf("read xdpallow %s: %w", args[0], err)
	}
	return nil
}

// dropped is how many packets were dropped so far.
func (d *demonstration) dropped(ctx context.Context) (packets uint64, err error) {
	var stats api.Stats
	if err := d.read(ctx, &stats, "stats"); err != nil {
		return 0, err
	}
	for _, counter := range stats.Counters {
		if counter.Verdict == "drop" && counter.Reason == "not_listed" {
			packets += counter.Packets
		}
	}
	return packets, nil
}

func (d *demonstration) expectServed(name string, from netip.Addr) error {
	response, err := d.lab.Wire.HTTPClient(from, patient).Get("http://" + d.api.String() + "/")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", name, response.Status)
	}
	d.say("%-9s GET http://%s/ from %-14s %s", name, d.api, from, response.Status)
	return nil
}

func (d *demonstration) expectDropped(name string, from netip.Addr) error {
	outcome, err := d.lab.Wire.Knock(from, d.api, impatient)
	if outcome != netlab.Dropped {
		return fmt.Errorf("%s: %v, %w", name, outcome, orSurprise(err))
	}
	d.say("%-9s GET http://%s/ from %-14s no answer, timed out", name, d.api, from)
	return nil
}

// request asks once on a connection that is open already.
func request(conn net.Conn, host string) error {
	if err := conn.SetDeadline(time.Now().Add(patient)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
