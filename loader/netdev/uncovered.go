package netdev

// This file finds the interfaces by which packets come in past the gate.

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Uncovered returns the names, sorted, of the interfaces that are up, have an address, and
// have a carrier that is not guarded. Routed are those of them that are bridges to containers
// or VMs: the host routes for them and all their ports are virtual. What comes in by them are
// the connections that the containers open.
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

// leadsGuests reports whether l is a bridge to containers or VMs.
func (i Interfaces) leadsGuests(l netlink.Link) bool {
	if l.Type() != "bridge" || !forwards(l.Attrs().Name) {
		return false
	}
	return !slices.ContainsFunc(i.ports[l.Attrs().Index], func(port netlink.Link) bool {
		return port.Type() != "veth" && port.Type() != "tuntap"
	})
}

// forwards reports whether this namespace routes packets that come in by an interface.
func forwards(name string) bool {
	for _, family := range []string{"ipv4", "ipv6"} {
		text, err := os.ReadFile(filepath.Join("/proc/sys/net", family, "conf", name, "forwarding"))
		if err == nil && strings.TrimSpace(string(text)) == "1" {
			return true
		}
	}
	return false
}
