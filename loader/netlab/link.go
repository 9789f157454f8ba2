// This file joins host and wire: links can come, go and be re-created while a
// test runs, as interfaces do on real hosts.

package netlab

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is one veth pair, with the same interface name on both sides. MAC and
// IP addresses follow from Number alone; a link that is deleted and added
// again has the same ones, and another interface index.
type Link struct {
	Name   string
	Number int // 0 for the first link of a lab

	HostMAC, WireMAC net.HardwareAddr
	Host4, Wire4     netip.Addr // in 10.80.Number.0/24
	Host6, Wire6     netip.Addr // in fd80:0:0:Number::/64

	lab *Lab
}

// AddLink joins host and wire by one more veth pair and returns when both ends
// pass traffic, IPv6 included. The host gets default routes over every link;
// that of the lowest number wins. A name that was deleted gets its old number
// and so its old addresses.
func (l *Lab) AddLink(ifname string) (*Link, error) { return l.Join(ifname, (*Link).makePair) }

// Join is AddLink with ends that make puts into host and wire, up and under the
// name of the link.
func (l *Lab) Join(ifname string, make func(*Link) error) (*Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	link := l.links[ifname]
	if link == nil {
		link = newLink(l, ifname, len(l.links))
	}
	if _, err := l.Host.nl.LinkByName(ifname); err == nil {
		return nil, fmt.Errorf("add link %s: it is there already", ifname)
	}
	l.links[ifname] = link // before it is made: Close finds it half way
	err := make(link)
	if err == nil {
		err = errors.Join(l.Host.waitUp(ifname), l.Wire.waitUp(ifname))
	}
	if err == nil {
		err = link.address()
	}
	if err != nil {
		return nil, fmt.Errorf("add link %s: %w", ifname, err)
	}
	return link, nil
}

// DeleteLink removes the veth pair, with its addresses, routes and programs.
// A pair that is not there is not an error.
func (l *Lab) DeleteLink(ifname string) error {
	if l.Host == nil || l.Host.nl == nil {
		return nil
	}
	link, err := l.Host.nl.LinkByName(ifname)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = l.Host.nl.LinkDel(link)
	}
	if errors.Is(err, unix.EOPNOTSUPP) { // a NIC: it goes home when the namespace ends
		err = nil
	}
	if err != nil {
		return fmt.Errorf("delete link %s: %w", ifname, err)
	}
	return nil
}

// Link returns the link of that name, or nil if there never was one.
func (l *Lab) Link(ifname string) *Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[ifname]
}

// Links returns all links that were ever added, by number.
func (l *Lab) Links() []*Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	var links []*Link
	for _, link := range l.links {
		links = append(links, link)
	}
	slices.SortFunc(links, func(a, b *Link) int { return cmp.Compare(a.Number, b.Number) })
	return links
}

func newLink(lab *Lab, ifname string, number int) *Link {
	addr4 := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, byte(number), last}) }
	addr6 := func(last byte) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x80, 7: byte(number), 15: last})
	}
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{0x02, 0, 0, 0x80, byte(number), last} }
	return &Link{
		Name: ifname, Number: number, lab: lab,
		HostMAC: mac(1), Host4: addr4(1), Host6: addr6(1),
		WireMAC: mac(2), Wire4: addr4(2), Wire6: addr6(2),
	}
}

func (k *Link) makePair() error {
	host, wire := k.lab.Host, k.lab.Wire
	// It gets its name once it is set up, as from udev, so that who waits for the name finds
	// a complete interface.
	const unnamed = "unnamed"
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: unnamed, HardwareAddr: k.HostMAC})
	pair.PeerName, pair.PeerHardwareAddr = k.Name, k.WireMAC
	pair.PeerNamespace = netlink.NsFd(wire.file.Fd())
	// Two queues can be had, also on one CPU, and one is in use.
	pair.NumRxQueues, pair.NumTxQueues, pair.PeerNumRxQueues, pair.PeerNumTxQueues = 2, 2, 2, 2
	if err := host.nl.LinkAdd(pair); err != nil {
		return fmt.Errorf("make veth pair: %w", err)
	}
	if err := errors.Join(host.SetQueues(unnamed, 1, 1), wire.SetQueues(k.Name, 1, 1)); err != nil {
		return err
	}
	// What a program of the host redirects here is lost unless this end polls.
	if err := wire.SetGRO(k.Name, true); err != nil {
		return err
	}
	err := host.change("name", unnamed, func(device netlink.Link) error { return host.nl.LinkSetName(device, k.Name) })
	if err != nil {
		return err
	}
	return errors.Join(host.SetUp(k.Name, true), wire.SetUp(k.Name, true))
}

// address fixes the neighbours too: a flood must not be able to push the
// gateway out of the neighbour table, nor ARP to add to a test's counters.
func (k *Link) address() error {
	host, wire := k.lab.Host, k.lab.Wire
	for _, pair := range [][2]netip.Prefix{
		{netip.PrefixFrom(k.Host4, 24), netip.PrefixFrom(k.Wire4, 24)},
		{netip.PrefixFrom(k.Host6, 64), netip.PrefixFrom(k.Wire6, 64)},
	} {
		hostAddr, wireAddr := pair[0].Addr(), pair[1].Addr()
		err := errors.Join(host.AddAddr(k.Name, pair[0]), wire.AddAddr(k.Name, pair[1]))
		if err != nil {
			return err
		}
		err = errors.Join(
			host.AddNeighbour(k.Name, wireAddr, k.WireMAC),
			wire.AddNeighbour(k.Name, hostAddr, k.HostMAC),
			host.AddRoute(netip.PrefixFrom(unspecified(wireAddr), 0), wireAddr, k.Name, 100+k.Number),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// waitUp waits for the kernel's own deferred work: an end that came up before
// its peer drops what it is given until its queue is activated, and a test
// would take that for a dropped packet.
func (ns *Namespace) waitUp(ifname string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		link, err := ns.nl.LinkByName(ifname)
		if err != nil {
			return fmt.Errorf("wait for %s in %s: %w", ifname, ns.Name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s in %s: still %s: %w", ifname, ns.Name, link.Attrs().OperState, unix.ETIMEDOUT)
		}
	}
}
