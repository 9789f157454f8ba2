package netdev

// This file tells which addresses are the host's own. The backstop lets them pass: with one
// too few it would refuse the host's own clients, with one too many it would let in a stranger.

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

// Own returns the host's own addresses for [maps.Tables.SetLocal]: those of its interfaces,
// and, for packets that come in by lo, the prefixes of the local routing table
// (`ip route add local 192.0.2.0/24 dev lo`), for which it asks the kernel. If those cannot be
// read it returns an error and no addresses: a part of them would shut the host out of itself.
func (i Interfaces) Own() ([]maps.Local, error) {
	routed, err := localRoutes()
	if err != nil {
		return nil, fmt.Errorf("list local routes: %w", err)
	}
	return append(i.addressesInUse(), routed...), nil
}

// addressesInUse are the addresses that the host sends from. An IPv6 link-local address counts
// on its own interface only: on another link somebody else may have the same one. An IPv4
// link-local address counts on every interface, because Linux routes it like any other.
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

// inUse reports whether the host sends from an address with these flags. An address that is
// still tested for duplicates may be somebody else's, and one that failed the test is
// somebody else's. An optimistic address is used during the test.
func inUse(flags int) bool {
	tested := flags&unix.IFA_F_TENTATIVE == 0 || flags&unix.IFA_F_OPTIMISTIC != 0
	return tested && flags&unix.IFA_F_DADFAILED == 0
}

// localRoutes are the prefixes of which the host answers every address. It sends from them to
// itself only, and such packets come in by lo.
func localRoutes() (own []maps.Local, err error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	// With the strict check the kernel filters: other tables can have a million routes.
	if err := handle.SetStrictCheck(true); err != nil {
		return nil, err
	}
	table := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := again(func() ([]netlink.Route, error) {
			return handle.RouteListFiltered(family, table, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		})
		if errors.Is(err, unix.ENOENT) {
			continue // the kernel makes the table with the first address
		}
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if r.Dst == nil {
				continue // the default route: then every address would be the host's own
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
