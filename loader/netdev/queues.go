package netdev

// This file finds queues that an interface was given after its program. What a queue
// receives that `ethtool -L` adds to a veth meets no program on 6.18, until one is set; it
// does on 6.1 and 6.12. The driver of a NIC sets up all queues anew, or refuses while there
// is a program. A veth in a bond is not looked at.

import (
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/netdev/ethtool"
)

// VethQueues returns on how many queues a veth receives. It is 0 for other drivers, and
// where the veth cannot be asked: the program is set once too often then, and not too
// seldom.
func VethQueues(name string) int32 {
	device, err := netlink.LinkByName(name)
	if err != nil || device.Type() != "veth" {
		return 0
	}
	channels, err := ethtool.GetChannels(name)
	if err != nil {
		return 0
	}
	return int32(channels.RxCount)
}
