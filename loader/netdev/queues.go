package netdev

// This file counts queues, to find those that an interface was given after its program. On
// Linux 6.18 a queue that `ethtool -L` adds to a veth runs no program until one is set again;
// on 6.1 and 6.12 it does. The driver of a NIC sets up all queues again, or refuses to add
// one while there is a program. A veth that is in a bond is not counted.

import (
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/netdev/ethtool"
)

// VethQueues returns on how many queues a veth receives. It is 0 for other drivers and when
// the veth cannot be asked: the program is then set once too often, which costs nothing,
// and never once too seldom, which would leave a queue open.
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
