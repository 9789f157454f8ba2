package netdev

// This file finds the ways in beside the gate.

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Uncovered returns the names of interfaces that are up and have an address, and whose
// packets do not all come in by one of the guarded, sorted. It costs two dumps. Of them,
// routed are the bridges that the host routes for and that have no port but virtual ones:
// they lead containers or VMs, and what comes in by them are their own connections.
func Uncovered(guarded []string) (names, routed []string, err error) {
	links, err := interfaces()
	if err != nil {
		return nil, nil, err
	}
	addresses, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, nil, fmt.Errorf("list addresses: %w", err)
	}
	addressed := map[int]bool{}
	for _, a := range addresses {
		addressed[a.LinkIndex] = true
	}
	all := indexed(links)
	names, routed = []string{}, []string{}
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || !addressed[a.Index] {
			continue
		}
		var carriers []string
		all.resolve(l, 8, &carriers)
		if !slices.ContainsFunc(carriers, func(name string) bool { return !slices.Contains(guarded, name) }) {
			continue
		}
		names = append(names, a.Name)
		if all.leadsGuests(l) {
			routed = append(routed, a.Name)
		}
	}
	slices.Sort(names)
	slices.Sort(routed)
	return names, routed, nil
}

// leadsGuests reports whether l is a bridge of containers or VMs.
func (d devices) leadsGuests(l netlink.Link) bool {
	if l.Type() != "bridge" || !forwards(l.Attrs().Name) {
		return false
	}
	return !slices.ContainsFunc(d.ports[l.Attrs().Index], func(port netlink.Link) bool {
		return port.Type() != "veth" && port.Type() != "tuntap"
	})
}

// forwards reports whether this namespace routes what comes in by an interface.
func forwards(name string) bool {
	for _, family := range []string{"ipv4", "ipv6"} {
		text, err := os.ReadFile(filepath.Join("/proc/sys/net", family, "conf", name, "forwarding"))
		if err == nil && strings.TrimSpace(string(text)) == "1" {
			return true
		}
	}
	return false
}
