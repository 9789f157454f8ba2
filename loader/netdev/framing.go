package netdev

// This file tells whether frames of an interface begin with an Ethernet header. The program
// cannot see it: it would read the addresses of an IP header as an Ethernet type, and pass.

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// ipFirst are the kinds of devices whose frames reach XDP with the IP header first, by the
// link type that they then have. Other kinds with the same link type are not known to: frames
// of vti and xfrm devices still have the Ethernet header of the outer packet, and those of gre
// devices may have the outer IP header.
var ipFirst = map[string]string{
	"tuntap": "none", "wireguard": "none", "ppp": "ppp", "ipip": "ipip", "sit": "sit", "ip6tnl": "tunnel6",
}

// FramingError says that the frame format of an interface is unknown, so that nothing can be
// filtered there.
type FramingError struct{ Interface, Kind, LinkType string }

func (e *FramingError) Error() string {
	return fmt.Sprintf("%s: nothing can be filtered there: its link type is %s, and how frames of such a %s device begin is unknown; guard the interface below it", e.Interface, e.LinkType, e.Kind)
}

// Hint is the command that shows what the interface is.
func (e *FramingError) Hint() string { return "ip -details link show dev " + e.Interface }

// BeginsWithIP reports whether frames of device begin with the IP header, and not with an
// Ethernet header. Returns *FramingError when it is neither.
func BeginsWithIP(device netlink.Link) (bool, error) {
	linkType := device.Attrs().EncapType
	tun, _ := device.(*netlink.Tuntap)
	switch {
	// Whoever opened a tun device can give it any link type; its frames stay the same.
	case tun != nil && tun.Mode == netlink.TUNTAP_MODE_TUN && linkType == "ether":
		return false, &FramingError{device.Attrs().Name, device.Type(), linkType}
	case linkType == "ether" || linkType == "loopback":
		return false, nil
	case ipFirst[device.Type()] == linkType:
		return true, nil
	}
	return false, &FramingError{device.Attrs().Name, device.Type(), linkType}
}
