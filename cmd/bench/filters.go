// This file sets up the filters that are compared: ours, and those that Linux has.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// remove undoes what installed a filter.
type remove func() error

// filter drops SYNs to the port from sources that are not on the list, and counts them.
// install returns what removes it again, nil when closing the lab is enough.
type filter struct {
	name    string
	install func(lab *netlab.Lab, l *list) (remove, error)
}

var (
	noFilter  = filter{"no filter", func(*netlab.Lab, *list) (remove, error) { return nil, nil }}
	emptyDrop = filter{"empty XDP drop", trivial("empty")}
	bareDrop  = filter{"bare", trivial("bare")}
	ourFilter = filter{"ours", func(lab *netlab.Lab, l *list) (remove, error) {
		g, err := newGate(l)
		if err != nil {
			return nil, err
		}
		held, err := attach(lab, g.ours.Program)
		return func() error { return errors.Join(held.Close(), g.close()) }, err
	}}
	nftNetdev = filter{"nft netdev ingress set", func(lab *netlab.Lab, l *list) (remove, error) {
		return nil, nftables(lab, l, "netdev", `hook ingress device "eth0" priority -500`)
	}}
	nftInet = filter{"nft inet raw", func(lab *netlab.Lab, l *list) (remove, error) {
		return nil, nftables(lab, l, "inet", "hook prerouting priority -300")
	}}
	ipsetRaw  = filter{"iptables raw + ipset", installIPSet}
	xdpFilter = filter{"xdp-filter (1 address)", func(lab *netlab.Lab, l *list) (remove, error) {
		unload := func() error { return run(lab, "", "xdp-filter", "unload", "eth0") } // its pins outlive the lab
		return unload, run(lab, "", "xdp-filter", "load", "-m", "native", "-p", "deny", "-f", "ipv4", "eth0")
	}}
)

// trivial installs a program that judges nothing.
func trivial(name string) func(*netlab.Lab, *list) (remove, error) {
	return func(lab *netlab.Lab, _ *list) (remove, error) {
		program, err := loadTrivial(name)
		if err != nil {
			return nil, err
		}
		held, err := attach(lab, program)
		return func() error { return errors.Join(held.Close(), program.Close()) }, err
	}
}

// attach attaches an XDP program to the host's interface.
func attach(lab *netlab.Lab, program *ebpf.Program) (held link.Link, err error) {
	index, err := lab.Host.Index("eth0")
	if err != nil {
		return nil, err
	}
	err = lab.Host.Do(func() error {
		held, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: link.XDPDriverMode})
		return err
	})
	return held, err
}

func nftables(lab *netlab.Lab, l *list, family, hook string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s bench {\nset listed {\ntype ipv4_addr\nflags interval\nauto-merge\nelements = {", family)
	for _, p := range l.prefixes {
		fmt.Fprintf(&b, "%v,\n", p)
	}
	fmt.Fprintf(&b, "}\n}\nchain in {\ntype filter %s; policy accept;\ntcp dport %d tcp flags & (syn|ack) == syn ip saddr != @listed counter drop\n}\n}\n", hook, port)
	return run(lab, b.String(), "nft", "-f", "-")
}

func installIPSet(lab *netlab.Lab, l *list) (remove, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "create listed hash:net maxelem %d hashsize %d\n", 2*l.n+1024, max(1024, l.n))
	for _, p := range l.prefixes {
		fmt.Fprintf(&b, "add listed %v\n", p)
	}
	if err := run(lab, b.String(), "ipset", "restore"); err != nil {
		return nil, err
	}
	return nil, run(lab, "", "iptables", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", fmt.Sprint(port),
		"--syn", "-m", "set", "!", "--match-set", "listed", "src", "-j", "DROP")
}

// run runs a command on the lab's host.
func run(lab *netlab.Lab, stdin string, argv ...string) error {
	command := labtest.Command(context.Background(), lab.Host, argv...)
	command.Stdin = strings.NewReader(stdin)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.300s", argv[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// newLab makes a host and a wire that meet as fast as they can: both ends poll, and
// what was sent as a packet arrives as one.
func newLab(clients ...netip.Prefix) (*netlab.Lab, error) {
	lab, err := netlab.New("bench")
	if err != nil {
		return nil, err
	}
	if err := lab.Host.SetGRO("eth0", true); err != nil {
		return lab, err
	}
	return lab, lab.AddClients(clients...)
}
