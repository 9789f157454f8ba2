// This file configures interfaces of a namespace, with netip types and without
// a subprocess.

package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netdev/ethtool"
)

// SetUp brings an interface up or down.
func (ns *Namespace) SetUp(ifname string, up bool) error {
	return ns.change("set up or down", ifname, func(link netlink.Link) error {
		if up {
			return ns.nl.LinkSetUp(link)
		}
		return ns.nl.LinkSetDown(link)
	})
}

// AddAddr gives an interface one more address, usable at once. The address
// keeps its host bits; its prefix becomes a connected route.
func (ns *Namespace) AddAddr(ifname string, addr netip.Prefix) error {
	return ns.change("add address "+addr.String()+" to", ifname, func(link netlink.Link) error {
		a := &netlink.Addr{IPNet: ipNet(addr)}
		if addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := ns.nl.AddrAdd(link, a); err != nil {
			return err
		}
		if link.Attrs().Flags&net.FlagUp == 0 {
			return nil // it takes packets to nobody
		}
		return ns.waitLocal(addr.Addr())
	})
}

// waitLocal waits until the host takes packets to an address of its own. The kernel puts
// an IPv6 address into the local table in a work queue, also where nothing is detected:
// until then it drops what comes for it.
func (ns *Namespace) waitLocal(addr netip.Addr) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		routes, err := ns.nl.RouteGet(addr.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is in no local table of %s: %w", addr, ns.Name, errors.Join(err, unix.ETIMEDOUT))
		}
	}
}

// AddRoute routes dst over an interface; via may be the zero Addr, for what is
// directly connected. The lowest metric wins.
func (ns *Namespace) AddRoute(dst netip.Prefix, via netip.Addr, ifname string, metric int) error {
	return ns.change("add route "+dst.String()+" over", ifname, func(link netlink.Link) error {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst.Masked()), Priority: metric}
		if via.IsValid() {
			route.Gw = via.AsSlice()
		}
		return ns.nl.RouteAdd(route)
	})
}

// AddNeighbour fixes the MAC address of a neighbour for good. A MAC that nobody
// has makes an address that swallows everything.
func (ns *Namespace) AddNeighbour(ifname string, addr netip.Addr, mac net.HardwareAddr) error {
	return ns.change("add neighbour "+addr.String()+" on", ifname, func(link netlink.Link) error {
		return ns.nl.NeighSet(&netlink.Neigh{
			LinkIndex:    link.Attrs().Index,
			State:        netlink.NUD_PERMANENT,
			IP:           addr.AsSlice(),
			HardwareAddr: mac,
		})
	})
}

// Index returns an interface's index, which another interface of the same name
// will not have.
func (ns *Namespace) Index(ifname string) (index int, err error) {
	err = ns.change("find", ifname, func(link netlink.Link) error {
		index = link.Attrs().Index
		return nil
	})
	return index, err
}

// Statistics returns an interface's own counters. TxDropped of a veth counts
// frames that the other end had no room for.
func (ns *Namespace) Statistics(ifname string) (stats netlink.LinkStatistics, err error) {
	err = ns.change("read counters of", ifname, func(link netlink.Link) error {
		stats = *link.Attrs().Statistics
		return nil
	})
	return stats, err
}

// SetGRO turns receive offload of an interface on or off; on a veth, on also
// means that it polls (NAPI), which frames that an XDP program redirects to it
// need. XDP_TX from the peer needs more: an XDP program on this end too, or the
// kernel leaves the frames in the ring.
func (ns *Namespace) SetGRO(ifname string, on bool) error {
	return ns.driver(func() error { return ethtool.SetGRO(ifname, on) })
}

// SetQueues sets on how many queues an interface receives and sends. With native XDP a
// veth receives on as many as its peer sends on, or more.
func (ns *Namespace) SetQueues(ifname string, receive, send int) error {
	return ns.driver(func() error {
		channels, err := ethtool.GetChannels(ifname)
		if err != nil {
			return err
		}
		channels.RxCount, channels.TxCount = uint32(receive), uint32(send)
		return ethtool.SetChannels(ifname, channels)
	})
}

// driver asks a driver of this namespace for something.
func (ns *Namespace) driver(ask func() error) error {
	if err := ns.Do(ask); err != nil {
		return fmt.Errorf("in %s: %w", ns.Name, err)
	}
	return nil
}

func (ns *Namespace) change(what, ifname string, fn func(netlink.Link) error) error {
	if ns.nl == nil {
		return fmt.Errorf("%s %s in %s: namespace is closed: %w", what, ifname, ns.Name, unix.EBADF)
	}
	link, err := ns.nl.LinkByName(ifname)
	if err == nil {
		err = fn(link)
	}
	if err != nil {
		return fmt.Errorf("%s %s in %s: %w", what, ifname, ns.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
