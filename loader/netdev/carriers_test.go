package netdev

// Promise guarded here: what carries the packets of an interface, what is left uncovered, and
// which addresses are the host's own follow from two dumps by rules, and need no kernel to be
// tested. That the kernel's packets really take these ways is tested in package loader.

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/maps"
)

// attrs are those of an interface that is up and in no other namespace.
func attrs(index int, name string) netlink.LinkAttrs {
	return netlink.LinkAttrs{Index: index, Name: name, Flags: net.FlagUp, NetNsID: -1}
}

// under puts an interface under a master.
func under(a netlink.LinkAttrs, master int) netlink.LinkAttrs {
	a.MasterIndex = master
	return a
}

// above puts an interface on top of a lower one.
func above(a netlink.LinkAttrs, lower int) netlink.LinkAttrs {
	a.ParentIndex = lower
	return a
}

// host has a bond of two NICs with a VLAN on it, a bridge of a third NIC and a veth, a bridge
// without ports, a bridge of containers, and a macvlan whose lower device is elsewhere.
func host() Interfaces {
	loopback := attrs(1, "lo")
	loopback.Flags |= net.FlagLoopback
	renamed := attrs(4, "eth2")
	renamed.AltNames = []string{"enp0s3"}
	elsewhere := above(attrs(12, "macvlan0"), 4) // index 4 of the other namespace
	elsewhere.NetNsID = 0
	down := attrs(13, "eth3")
	down.Flags = 0
	links := []netlink.Link{
		&netlink.Device{LinkAttrs: loopback},
		&netlink.Device{LinkAttrs: under(attrs(2, "eth0"), 5)},
		&netlink.Device{LinkAttrs: under(attrs(3, "eth1"), 5)},
		&netlink.Device{LinkAttrs: under(renamed, 7)},
		&netlink.Bond{LinkAttrs: attrs(5, "bond0")},
		&netlink.Vlan{LinkAttrs: above(attrs(6, "bond0.7"), 5)},
		&netlink.Bridge{LinkAttrs: attrs(7, "br0")},
		&netlink.Veth{LinkAttrs: under(attrs(8, "veth0"), 7)},
		&netlink.Bridge{LinkAttrs: attrs(9, "br1")},
		&netlink.Bridge{LinkAttrs: attrs(10, "docker0")},
		&netlink.Veth{LinkAttrs: under(attrs(11, "veth1"), 10)},
		&netlink.Macvlan{LinkAttrs: elsewhere},
		&netlink.Device{LinkAttrs: down},
		&netlink.Dummy{LinkAttrs: attrs(14, "dummy0")},
	}
	var addresses []netlink.Addr
	for _, index := range []int{1, 5, 6, 7, 9, 12, 13} {
		addresses = append(addresses, address(index, "192.0.2.1/24", 0))
	}
	return newInterfaces(links, addresses)
}

func address(index int, prefix string, flags int) netlink.Addr {
	p := netip.MustParsePrefix(prefix)
	return netlink.Addr{
		IPNet:     &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		LinkIndex: index, Flags: flags,
	}
}

func TestCarriers(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"bond0":    {"bond0"},
		"eth0":     {"bond0"}, // a slave has no packets of its own
		"bond0.7":  {"bond0"},
		"br0":      {"eth2", "veth0"},
		"eth2":     {"eth2"},
		"enp0s3":   {"eth2"}, // by its alternative name
		"br1":      {"br1"},  // nothing else to guard
		"macvlan0": {"macvlan0"},
		"eth3":     {"eth3"},
		"lo":       nil,
		"eth9":     nil,
	} {
		got, err := host().Carriers(name)
		if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (want == nil) {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestUncovered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ guarded, want []string }{
		{nil, []string{"bond0", "bond0.7", "br0", "br1", "macvlan0"}},
		{[]string{"bond0"}, []string{"br0", "br1", "macvlan0"}},
		{[]string{"eth0", "eth1"}, []string{"bond0", "bond0.7", "br0", "br1", "macvlan0"}}, // slaves guard no bond
		{[]string{"bond0", "eth2"}, []string{"br0", "br1", "macvlan0"}},                    // one port is not all
		{[]string{"bond0", "eth2", "veth0", "br1", "macvlan0"}, nil},
	} {
		got, _ := host().Uncovered(c.guarded)
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("with %v guarded (-want +got)\n%s", c.guarded, diff)
		}
	}
}

// Devices that lead to each other must not hang the daemon.
func TestCarriersEnd(t *testing.T) {
	t.Parallel()
	loop := newInterfaces([]netlink.Link{
		&netlink.Vlan{LinkAttrs: above(attrs(2, "a"), 3)},
		&netlink.Vlan{LinkAttrs: above(attrs(3, "b"), 2)},
	}, nil)
	if got, err := loop.Carriers("a"); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAddressesInUse(t *testing.T) {
	t.Parallel()
	own := newInterfaces(nil, []netlink.Addr{
		address(2, "192.0.2.1/24", 0),
		address(2, "169.254.3.4/16", 0),
		address(2, "fe80::1/64", 0),
		address(3, "fe80::1/64", 0),
		address(2, "2001:db8::1/64", 0),
		address(2, "2001:db8::2/64", unix.IFA_F_TENTATIVE),
		address(2, "2001:db8::3/64", unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC),
		address(2, "2001:db8::4/64", unix.IFA_F_DADFAILED),
	}).addressesInUse()
	on := func(addr string, index int) maps.Local {
		a := netip.MustParseAddr(addr)
		return maps.Local{Prefix: netip.PrefixFrom(a, a.BitLen()), Interface: index}
	}
	want := []maps.Local{
		on("192.0.2.1", 0), on("169.254.3.4", 0), on("fe80::1", 2), on("fe80::1", 3), on("2001:db8::1", 0), on("2001:db8::3", 0),
	}
	if diff := cmp.Diff(want, own, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("the host's own (-want +got)\n%s", diff)
	}
}

// Two changes of which none was received come as one.
func TestChangesAreJoined(t *testing.T) {
	t.Parallel()
	w := &watcher{changed: make(chan Change, 1), setups: map[int]setup{}}
	update := func(index, mtu int, up bool) netlink.LinkUpdate {
		u := netlink.LinkUpdate{Link: &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, MTU: mtu}}}
		if up {
			u.Link.Attrs().Flags = net.FlagUp
		}
		u.Header.Type = unix.RTM_NEWLINK
		return u
	}
	for _, index := range []int{2, 3, 4} { // as they are when the watch begins
		w.send(w.compare(update(index, 1500, true)))
	}
	w.send(w.compare(update(2, 9000, true)))
	w.send(w.compare(update(3, 1500, false)))
	w.send(w.compare(update(4, 1500, true))) // nothing that its driver sets up
	if diff := cmp.Diff(Change{SetUp: map[int]bool{2: true, 3: true}}, <-w.changed); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
