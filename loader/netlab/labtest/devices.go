// This file does to the interfaces of a lab what only tests and benchmarks do, and runs
// commands beside them.

package labtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Command returns a command that runs inside the namespace, by nsenter. Unlike
// `ip netns exec` it leaves /sys alone, so that bpffs stays visible.
func Command(ctx context.Context, ns *netlab.Namespace, argv ...string) *exec.Cmd {
	args := append([]string{"--net=" + ns.Path(), "--"}, argv...)
	return exec.CommandContext(ctx, "nsenter", args...)
}

// ListenPacket is [netlab.Namespace.Listen] for datagrams.
func ListenPacket(ns *netlab.Namespace, network, addr string) (conn net.PacketConn, err error) {
	err = ns.Do(func() error {
		conn, err = net.ListenPacket(network, addr)
		return err
	})
	return conn, err
}

// SetMTU sets the largest IP packet in bytes. Set it on both ends.
func SetMTU(ns *netlab.Namespace, ifname string, mtu int) error {
	link, err := ns.Netlink().LinkByName(ifname)
	if err == nil {
		err = ns.Netlink().LinkSetMTU(link, mtu)
	}
	if err != nil {
		return fmt.Errorf("set the MTU of %s in %s: %w", ifname, ns.Name, err)
	}
	return nil
}

// AddPair joins host and wire by two interfaces of the calling namespace in place of a
// veth pair: NICs of one segment, as an emulator has them. They can be joined once.
func AddPair(lab *netlab.Lab, ifname, hostEnd, wireEnd string) (*netlab.Link, error) {
	return lab.Join(ifname, func(link *netlab.Link) (err error) {
		// A NIC keeps its address: not every model hears another.
		if link.HostMAC, err = take(lab.Host, hostEnd, ifname); err == nil {
			link.WireMAC, err = take(lab.Wire, wireEnd, ifname)
		}
		return err
	})
}

// take moves an interface of the calling namespace into another, under another name.
func take(ns *netlab.Namespace, from, to string) (net.HardwareAddr, error) {
	device, err := netlink.LinkByName(from)
	for deadline := time.Now().Add(10 * time.Second); err != nil; device, err = netlink.LinkByName(from) {
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("find %s: %w", from, err)
		}
		time.Sleep(20 * time.Millisecond) // a NIC comes home some time after its namespace has ended
	}
	mac := device.Attrs().HardwareAddr
	target, err := unix.Open(ns.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", ns.Name, err)
	}
	defer unix.Close(target)
	if err := errors.Join(netlink.LinkSetDown(device), netlink.LinkSetNsFd(device, target)); err != nil {
		return nil, fmt.Errorf("move %s: %w", from, err)
	}
	if device, err = ns.Netlink().LinkByName(from); err != nil {
		return nil, err
	}
	return mac, errors.Join(ns.Netlink().LinkSetName(device, to), ns.Netlink().LinkSetUp(device))
}
