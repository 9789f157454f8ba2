package demo

// This file is `demo --fleet`: three hosts in namespaces follow one list in a real etcd. What is
// typed once happens on all of them, and what becomes of etcd hurts none.

import (
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

	"github.com/xdpallow/xdpallow/loader/policy"
)

// fleetDemonstration is an etcd, and hosts with a gate each.
type fleetDemonstration struct {
	out    io.Writer
	dir    string // of etcd's data and of config files
	client string // where etcd answers, HOST:PORT
	args   []string
	etcd   *process
	hosts  []*demonstration
	relays []net.Listener // by which hosts reach etcd
}

// Fleet shows three hosts that follow one list, and writes what happens to out. It needs root, and
// etcd on PATH.
func Fleet(ctx context.Context, out io.Writer) (err error) {
	if _, err := exec.LookPath("etcd"); err != nil {
		return &policy.Refused{What: "demo --fleet needs etcd, which is not on PATH", Hint: "apt-get install etcd-server"}
	}
	d := &fleetDemonstration{out: out}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(); err != nil {
		return err
	}
	return inSteps(ctx, out, []step{
		{"three gates go up, each with nothing but a fleet to follow: nobody gets in yet", d.run},
		{"a customer is added once, and is in everywhere", d.add},
		{"his key is stolen: suspended once, he is out everywhere", d.suspend},
		{"resumed once, he is in again", d.resume},
		{"etcd is killed: all three go on", d.kill},
		{"meanwhile web1 reboots (played: its pins and its namespace are gone, its state is kept)", d.reboot},
		{"etcd is back, and whom it suspends is out everywhere", d.back},
	})
}

func (d *fleetDemonstration) say(format string, args ...any) {
	fmt.Fprintf(d.out, "   "+format+"\n", args...)
}

// until waits for what comes within a few seconds.
func (d *fleetDemonstration) until(what string, is func() bool) error {
	for deadline := time.Now().Add(6 * patient); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w", what, errSurprise)
		}
	}
	return nil
}

// command is ask, shown, and expects that all hosts have what it did.
func (d *fleetDemonstration) command(ctx context.Context, args ...string) error {
	d.say("$ xdpallow fleet %s", strings.Join(args, " "))
	text, err := d.ask(ctx, args...)
	for line := range strings.Lines(text) {
		d.say("%s", strings.TrimRight(line, "\n"))
	}
	if err == nil && !strings.Contains(text, "3 of 3 hosts have it") {
		err = fmt.Errorf("fleet %s: %w", args[0], errSurprise)
	}
	return err
}

// everywhere expects that the customer is served on each host, or dropped, and a stranger dropped.
func (d *fleetDemonstration) everywhere(served bool) error {
	errs := make(chan error, 2*len(d.hosts))
	for _, host := range d.hosts {
		expect := host.expectDropped
		if served {
			expect = host.expectServed
		}
		go func() { errs <- named(host, expect("customer", customer)) }()
		go func() { errs <- named(host, host.expectDropped("stranger", stranger)) }()
	}
	var all []error
	for range cap(errs) {
		all = append(all, <-errs)
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	got := map[bool]string{true: "200 OK", false: "no answer, timed out"}
	d.answered("customer", customer, got[served])
	d.answered("stranger", stranger, got[false])
	return nil
}

func named(host *demonstration, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", host.name, err)
	}
	return nil
}

func (d *fleetDemonstration) answered(name string, from netip.Addr, got string) {
	d.say("%-9s GET http://%s/ from %-14s on web1, web2, web3: %s", name, d.hosts[0].api, from, got)
}

func (d *fleetDemonstration) run(ctx context.Context) error {
	if err := d.startEtcd(ctx); err != nil {
		return err
	}
	for i, host := range d.hosts {
		if i == 0 {
			host.out = d.out // the others say the same
		}
		if err := d.startHost(ctx, host); err != nil {
			return named(host, err)
		}
		host.out = io.Discard
	}
	err := d.until("the hosts have come", func() bool {
		text, _ := d.ask(ctx, "status")
		return strings.Contains(text, "web1") && strings.Contains(text, "web2") && strings.Contains(text, "web3")
	})
	return errors.Join(err, d.everywhere(false))
}

func (d *fleetDemonstration) startHost(ctx context.Context, host *demonstration) (err error) {
	host.daemon, err = host.startDaemon(ctx, "--config", filepath.Join(d.dir, "host.yaml"))
	return err
}

func (d *fleetDemonstration) add(ctx context.Context) error {
	return errors.Join(d.command(ctx, "add", customer.String(), "--owner", "acme", "--reason", "OPS-1234"), d.everywhere(true))
}

func (d *fleetDemonstration) suspend(ctx context.Context) error {
	err := errors.Join(d.command(ctx, "suspend", "acme", "--reason", "OPS-1301"), d.everywhere(false))
	if err != nil {
		return err
	}
	host := d.hosts[0]
	host.out = d.out
	defer func() { host.out = io.Discard }()
	d.say("on web1:")
	return host.command(ctx, "history", "-n", "1")
}

func (d *fleetDemonstration) resume(ctx context.Context) error {
	return errors.Join(d.command(ctx, "resume", "acme"), d.everywhere(true))
}

func (d *fleetDemonstration) kill(context.Context) error {
	d.say("$ kill -9 %d", d.etcd.Process.Pid)
	err := d.etcd.stop(unix.SIGKILL)
	d.etcd = nil
	return errors.Join(err, d.everywhere(true))
}

// reboot leaves of a host what a reboot leaves: its files.
func (d *fleetDemonstration) reboot(ctx context.Context) error {
	host := d.hosts[0]
	state := host.dir + ".state"
	if err := errors.Join(host.daemon.stop(unix.SIGKILL), os.Rename(filepath.Join(host.dir, "state"), state)); err != nil {
		return err
	}
	defer os.RemoveAll(state)
	host.daemon = nil
	if err := errors.Join(d.relays[0].Close(), host.close()); err != nil {
		return err
	}
	d.relays = d.relays[1:]
	*host = demonstration{out: d.out, name: host.name}
	if err := errors.Join(d.join(host), os.Rename(state, filepath.Join(host.dir, "state"))); err != nil {
		return err
	}
	err := d.startHost(ctx, host)
	host.out = io.Discard
	return errors.Join(err, d.everywhere(true))
}

func (d *fleetDemonstration) back(ctx context.Context) error {
	if err := d.startEtcd(ctx); err != nil {
		return err
	}
	err := d.until("the hosts have heard of it", func() bool {
		text, _ := d.ask(ctx, "status")
		return strings.Contains(text, "web1") && !strings.Contains(text, "silent")
	})
	return errors.Join(err, d.command(ctx, "suspend", "acme", "--reason", "OPS-1302", "--wait", "30s"), d.everywhere(false))
}
