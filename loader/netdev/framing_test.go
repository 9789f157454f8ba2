// How frames begin is known of few kinds of devices, and guessed of none.
package netdev

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestFramesBegin(t *testing.T) {
	of := func(linkType string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: "x0", EncapType: linkType} }
	for name, c := range map[string]struct {
		device  netlink.Link
		ipFirst bool
		refused bool
	}{
		"a NIC":                     {&netlink.Device{LinkAttrs: of("ether")}, false, false},
		"veth":                      {&netlink.Veth{LinkAttrs: of("ether")}, false, false},
		"tap":                       {&netlink.Tuntap{LinkAttrs: of("ether"), Mode: netlink.TUNTAP_MODE_TAP}, false, false},
		"gretap":                    {&netlink.Gretap{LinkAttrs: of("ether")}, false, false},
		"tun":                       {&netlink.Tuntap{LinkAttrs: of("none")}, true, false},
		"wireguard":                 {&netlink.Wireguard{LinkAttrs: of("none")}, true, false},
		"ppp":                       {&netlink.GenericLink{LinkAttrs: of("ppp"), LinkType: "ppp"}, true, false},
		"ipip":                      {&netlink.Iptun{LinkAttrs: of("ipip")}, true, false},
		"tun that plays a NIC":      {&netlink.Tuntap{LinkAttrs: of("ether"), Mode: netlink.TUNTAP_MODE_TUN}, false, true},
		"tun that plays a radio":    {&netlink.Tuntap{LinkAttrs: of("ieee802.15.4")}, false, true},
		"gre, perhaps the outer IP": {&netlink.Gretun{LinkAttrs: of("gre")}, false, true},
		"vti, an outer Ethernet":    {&netlink.Vti{LinkAttrs: of("ipip")}, false, true},
		"xfrm, an outer Ethernet":   {&netlink.Xfrmi{LinkAttrs: of("none")}, false, true},
		"InfiniBand":                {&netlink.IPoIB{LinkAttrs: of("infiniband")}, false, true},
	} {
		ipFirst, err := BeginsWithIP(c.device)
		var refused *FramingError
		if ipFirst != c.ipFirst || errors.As(err, &refused) != c.refused {
			t.Errorf("%s: IP first %t, %v", name, ipFirst, err)
		}
	}
}
