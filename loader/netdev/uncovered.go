package netdev

// This file finds the ways in beside the gate.

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Uncovered returns the names of interfaces that are up and have an address, and whose
// packets do not all come in by one of the guarded, sorted. Of them,
// routed are the bridges that the host routes for and that have no port but virtual ones:
// they lead containers or VMs, and what comes in by them are their own connections.
func (i Interfaces) Uncovered(guarded []string) (names, routed []string) {
	addressed := map[int]bool{}
	for _, a := range i.addresses {
		addressed[a.LinkIndex] = true
	}
	names, routed = []string{}, []string{}
	for _, l := range i.links {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || !addressed[a.Index] {
			continue
		}
		var carriers []string
		i.carriers(l, 8, &carriers)
		if !slices.ContainsFunc(carriers, func(name string) bool { return !slices.Contains(guarded, name) }) {
			continue
		}
		names = append(names, a.Name)
		if i.leadsGuests(l) {
			routed = append(routed, a.Name)
		}
	}
	slices.Sort(names)
	slices.Sort(routed)
	return names, routed
}

// leadsGuests reports whether l is a bridge of containers or VMs.
func (i Interfaces) leadsGuests(l netlink.Link) bool {
	if l.Type() != "bridge" || !forwards(l.Attrs().Name) {
		return false
	}
	return !slices.ContainsFunc(i.ports[l.Attrs().Index], func(port netlink.Link) bool {
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
