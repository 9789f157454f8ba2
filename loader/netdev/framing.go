package netdev

// This file says how the frames of an interface begin. The program cannot see it, and
// would take the addresses of an IP header for a type of Ethernet.

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// ipFirst are the kinds of devices whose packets reach XDP with their IP header first, and
// the link type that they then have. Other kinds of the same type may not: vti and xfrm
// devices still have the Ethernet header of the outer packet, gre devices may have the
// outer IP header.
var ipFirst = map[string]string{
	"tuntap": "none", "wireguard": "none", "ppp": "ppp", "ipip": "ipip", "sit": "sit", "ip6tnl": "tunnel6",
}

// FramingError says that nobody knows where the packets of an interface begin in its
// frames, so that nothing could be filtered there.
type FramingError struct{ Interface, Kind, LinkType string }

func (e *FramingError) Error() string {
	return fmt.Sprintf("%s: nothing can be filtered there: how frames of a %s device begin whose link type is %s is not known", e.Interface, e.Kind, e.LinkType)
}

// Hint is how to see what the interface is.
func (e *FramingError) Hint() string { return "ip -details link show dev " + e.Interface }

// BeginsWithIP reports whether frames of device begin with the IP header, and not with an
// Ethernet header. Returns *FramingError when it is neither.
func BeginsWithIP(device netlink.Link) (bool, error) {
	linkType := device.Attrs().EncapType
	tun, _ := device.(*netlink.Tuntap)
	switch {
	// Whoever holds a tun device gives it any link type, and its frames stay what they are.
	case tun != nil && tun.Mode == netlink.TUNTAP_MODE_TUN && linkType == "ether":
		return false, &FramingError{device.Attrs().Name, device.Type(), linkType}
	case linkType == "ether" || linkType == "loopback":
		return false, nil
	case ipFirst[device.Type()] == linkType:
		return true, nil
	}
	return false, &FramingError{device.Attrs().Name, device.Type(), linkType}
}
