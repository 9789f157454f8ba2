package netdev

// This file says which addresses are the host's own, for the backstop: it must neither
// refuse the host's own clients nor take a stranger for one.

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/maps"
)

// loopback is the index of lo, in every network namespace.
const loopback = 1

// Own returns what is this network namespace's own, for [maps.Tables.SetLocal]:
// the addresses of its interfaces, and for packets that come in by lo also what routes of
// the table local make its own (`ip route add local 192.0.2.0/24 dev lo`), which it asks
// the kernel for. An error if those cannot be read: without them the backstop would refuse
// the host to itself.
func (i Interfaces) Own() ([]maps.Local, error) {
	routed, err := localRoutes()
	if err != nil {
		return nil, fmt.Errorf("list local routes: %w", err)
	}
	return append(i.addressesInUse(), routed...), nil
}

// addressesInUse are those that the host sends from. IPv6 link-local ones are of their own
// interface: on another link somebody else may have the same. IPv4 link-local ones are of
// every interface like all of IPv4, for that is how Linux routes them.
func (i Interfaces) addressesInUse() (own []maps.Local) {
	for _, a := range i.addresses {
		addr, ok := netip.AddrFromSlice(a.IP)
		if !ok || !inUse(a.Flags) {
			continue
		}
		addr = addr.Unmap()
		l := maps.Local{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
		if addr.Is6() && addr.IsLinkLocalUnicast() {
			l.Interface = a.LinkIndex
		}
		own = append(own, l)
	}
	return own
}

// inUse reports whether the host sends from an address with these flags. One that is
// being tested for a duplicate may be somebody else's, and one that failed is; an
// optimistic one is used while the test goes on.
func inUse(flags int) bool {
	tested := flags&unix.IFA_F_TENTATIVE == 0 || flags&unix.IFA_F_OPTIMISTIC != 0
	return tested && flags&unix.IFA_F_DADFAILED == 0
}

// localRoutes are the prefixes of which the host answers every address. It may also send
// from them; only to itself, and therefore by lo.
func localRoutes() (own []maps.Local, err error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	// The kernel then leaves out the other tables, which can have a million routes.
	if err := handle.SetStrictCheck(true); err != nil {
		return nil, err
	}
	table := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := again(func() ([]netlink.Route, error) {
			return handle.RouteListFiltered(family, table, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		})
		if errors.Is(err, unix.ENOENT) {
			continue // no such table: it is made with the first address
		}
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if r.Dst == nil {
				continue // all addresses there are: that would be no distinction
			}
			addr, ok := netip.AddrFromSlice(r.Dst.IP)
			bits, _ := r.Dst.Mask.Size()
			if ok {
				own = append(own, maps.Local{Prefix: netip.PrefixFrom(addr, bits), Interface: loopback})
			}
		}
	}
	return own, nil
}
