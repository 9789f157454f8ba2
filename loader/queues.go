package loader

// This file looks after queues that an interface is given while it is guarded. A veth
// gives an XDP program to the queues that it has as the program is set: one that
// `ethtool -L` adds later lets everything in (veth_set_channels in drivers/net/veth.c; seen
// on 6.18). The driver of a NIC sets up all anew, or refuses while there is a program.

import (
	"fmt"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/bpf"
)

// Queues returns how many queues a veth receives on, and 0 for other drivers.
func Queues(name string) (int, error) {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return 0, notFound(name, err)
	}
	if device.Type() != "veth" {
		return 0, nil
	}
	driver, err := ethtool.NewEthtool()
	if err != nil {
		return 0, fmt.Errorf("%s: count queues: %w", name, err)
	}
	defer driver.Close()
	channels, err := driver.GetChannels(name)
	if err != nil {
		return 0, fmt.Errorf("%s: count queues: %w", name, err)
	}
	return int(channels.RxCount), nil
}

// Spread makes all queues of name run our program. A copy comes in between, for to set
// the program that is there is nothing to the kernel.
func (g *Gate) Spread(name string) error {
	a, err := g.attachment(name)
	if err != nil {
		return err
	}
	between, err := g.loadProgram(bpf.XdpallowProgXdpallow, a.counters.Live, false)
	if err != nil {
		return err
	}
	defer between.Close()
	if err := a.link.Update(between); err != nil {
		return fmt.Errorf("%s: give its queues our program: %w", name, err)
	}
	return g.Relink(name)
}
