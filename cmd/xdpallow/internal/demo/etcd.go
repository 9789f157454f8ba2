package demo

// This file sets up what a fleet needs: an etcd, the hosts, and their way to it out of namespaces.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func (d *fleetDemonstration) open() (err error) {
	if d.dir, err = os.MkdirTemp("", "xdpallow-demo-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	var addrs []string
	for range 2 { // for clients, for peers
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer free.Close() // both together, so that they differ
		addrs = append(addrs, free.Addr().String())
	}
	d.client = addrs[0]
	client, peer := "http://"+addrs[0], "http://"+addrs[1]
	d.args = []string{
		"--data-dir", filepath.Join(d.dir, "etcd"), "--log-level", "error", "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}
	text := "origins: {prod: {etcd: [\"" + client + "\"]}}\n"
	if err := os.WriteFile(d.config(), []byte(text), 0o600); err != nil {
		return err
	}
	text += fmt.Sprintf("interfaces: [eth0]\nservices: {api: {ports: [%d]}}\n", port)
	if err := os.WriteFile(filepath.Join(d.dir, "host.yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	for i := range 3 {
		host := &demonstration{out: io.Discard, name: fmt.Sprintf("web%d", i+1)}
		d.hosts = append(d.hosts, host)
		if err := d.join(host); err != nil {
			return err
		}
	}
	d.say("Three hosts, web1 to web3, each with a real API on %s and a wire of its own,", d.hosts[0].api)
	d.say("and a real etcd, which they reach as if it ran beside them, so without certificates.")
	return nil
}

func (d *fleetDemonstration) config() string { return filepath.Join(d.dir, "fleet.yaml") }

// join makes the network of host, and its way to etcd.
func (d *fleetDemonstration) join(host *demonstration) error {
	if err := host.open(); err != nil {
		return err
	}
	relay, err := host.lab.Host.Listen("tcp", d.client)
	if err != nil {
		return err
	}
	d.relays = append(d.relays, relay)
	go func() {
		for {
			inside, err := relay.Accept()
			if err != nil {
				return
			}
			go join(inside, d.client)
		}
	}()
	return nil
}

// join has inside lead to addr, outside of its namespace.
func join(inside net.Conn, addr string) {
	defer inside.Close()
	outside, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(outside, inside)
		outside.Close()
	}()
	_, _ = io.Copy(inside, outside)
	outside.Close()
}

// close removes everything, in the order in which nothing is in use any more.
func (d *fleetDemonstration) close() error {
	var errs []error
	for _, relay := range d.relays {
		errs = append(errs, relay.Close())
	}
	for _, host := range d.hosts {
		errs = append(errs, host.close())
	}
	if d.etcd != nil {
		errs = append(errs, d.etcd.stop(unix.SIGKILL))
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

func (d *fleetDemonstration) startEtcd(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "etcd", d.args...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	d.etcd = &process{cmd}
	return d.until("etcd answers", func() bool {
		_, err := d.ask(ctx, "init")
		return err == nil
	})
}

// ask runs a command of the fleet, where the operator is.
func (d *fleetDemonstration) ask(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, self, append([]string{"fleet"}, args...)...)
	cmd.Env = append(os.Environ(), "XDPALLOW_FLEET="+d.config())
	text, err := cmd.CombinedOutput()
	if err != nil {
		return string(text), fmt.Errorf("xdpallow fleet %s: %w", args[0], err)
	}
	return string(text), nil
}
