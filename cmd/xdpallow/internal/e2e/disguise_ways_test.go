package e2e

// This file builds the ways to the host that lead round the XDP program, or that need
// more of the host than a socket.

import (
	be "encoding/binary" // the package has a variable binary
	"errors"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/bpf/bpftest/disguise"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// secondNIC reaches the address of eth0 by eth1, which nobody asked us to guard.
func secondNIC(h *openHost) func() bool {
	second := labtest.Must(h.lab.AddLink("eth1"))(h.tb)
	wire := listenIn(h.tb, h.lab.Wire, "eth0") // where the default route leads
	client := netip.AddrPortFrom(netlab.Unlisted4, 4000)
	frame := labtest.Must(second.SYN(client, h.api4()))(h.tb)
	return func() bool { return h.answers(wire, second, frame, client) }
}

// vxlan wraps the SYN into UDP, which the host itself unwraps. Inside and outside
// come from sources that are not listed.
func vxlan(h *openHost) func() bool {
	local, remote := h.link().Host4, h.link().Wire4
	for _, end := range []struct {
		ns            *netlab.Namespace
		local, remote netip.Addr
		inner         string
	}{{h.lab.Host, local, remote, "10.77.0.1/24"}, {h.lab.Wire, remote, local, "10.77.0.2/24"}} {
		err := end.ns.Netlink().LinkAdd(&netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: "vx0"},
			VxlanId:   42, Port: 4789, SrcAddr: end.local.AsSlice(), Group: end.remote.AsSlice(),
		})
		err = errors.Join(err, end.ns.AddAddr("vx0", netip.MustParsePrefix(end.inner)), end.ns.SetUp("vx0", true))
		if err != nil {
			h.tb.Fatal(err)
		}
	}
	return func() bool {
		return h.opensTo(netip.MustParseAddr("10.77.0.2"), netip.AddrPortFrom(netip.MustParseAddr("10.77.0.1"), port))
	}
}

// redirect leads another port to the protected one, behind XDP.
func redirect(h *openHost) func() bool {
	h.nft(`table ip nat {
		chain prerouting { type nat hook prerouting priority -100; tcp dport 9443 redirect to :8443; }
	}`)
	return func() bool { return h.opensTo(netlab.Unlisted4, netip.AddrPortFrom(h.link().Host4, 9443)) }
}

// container publishes port 9999 of the host, which leads to a socket in another
// namespace. A second lab's host serves as the container.
func container(h *openHost) func() bool {
	guest := labtest.New(h.tb).Host
	file, err := os.Open(guest.Path())
	if err != nil {
		h.tb.Fatal(err)
	}
	defer file.Close()
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: "guest"})
	pair.PeerName, pair.PeerNamespace = "uplink", netlink.NsFd(file.Fd())
	inside, outside := netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("172.17.0.1")
	if err := errors.Join(
		h.lab.Host.Netlink().LinkAdd(pair),
		h.lab.Host.AddAddr("guest", netip.PrefixFrom(outside, 24)), h.lab.Host.SetUp("guest", true),
		guest.AddAddr("uplink", netip.PrefixFrom(inside, 24)), guest.SetUp("uplink", true),
		guest.AddRoute(netlab.UnlistedPrefix4, outside, "uplink", 1),
	); err != nil {
		h.tb.Fatal(err)
	}
	sysctl(h.tb, h.lab.Host, "ipv4/ip_forward", "1")
	h.nft(`table ip nat {
		chain prerouting { type nat hook prerouting priority -100; tcp dport 9999 dnat to 172.17.0.2:80; }
	}`)
	labtest.Listen(h.tb, guest, ":80")
	return func() bool { return h.opensTo(netlab.Unlisted4, netip.AddrPortFrom(h.link().Host4, 9999)) }
}

// segmentRouted is a SYN behind a segment routing header.
func segmentRouted(left byte) func(*openHost) func() bool {
	return func(h *openHost) func() bool {
		wire := listenIn(h.tb, h.lab.Wire, "eth0")
		client := netip.AddrPortFrom(netlab.Unlisted6, 4000)
		syn := labtest.Must(h.link().SYN(client, h.api6()))(h.tb)
		frame := h.segmentRoute(syn, left, 6, syn[54:])
		return func() bool { return h.answers(wire, h.link(), frame, client) }
	}
}

// encapsulated is a SYN of an unlisted source as a packet of its own behind a segment
// routing header, which Linux takes out without any tunnel device. Its outer source may
// be faked, for nothing is ever sent there.
func encapsulated(outer netip.Addr) func(*openHost) func() bool {
	return func(h *openHost) func() bool {
		wire := listenIn(h.tb, h.lab.Wire, "eth0")
		client := netip.AddrPortFrom(netlab.Unlisted6, 4000)
		frame := h.encapsulate(outer, client)
		return func() bool { return h.answers(wire, h.link(), frame, client) }
	}
}

// encapsulate makes a SYN of client inside a packet of outer.
func (h *host) encapsulate(outer netip.Addr, client netip.AddrPort) []byte {
	h.tb.Helper()
	syn := labtest.Must(h.link().SYN(client, h.api6()))(h.tb)
	frame := h.segmentRoute(syn, 0, 41, syn[14:])
	copy(frame[14+8:], outer.AsSlice())
	return frame
}

// segmentRoute puts payload behind a segment routing header, in a frame with the headers
// of syn. All segments are the host itself, and left of them are to be visited.
func (h *host) segmentRoute(syn []byte, left, next byte, payload []byte) []byte {
	const segments = 2
	header := []byte{next, 2 * segments, 4, left, segments - 1, 0, 0, 0}
	for range segments {
		header = append(header, h.link().Host6.AsSlice()...)
	}
	frame := slices.Concat(syn[:54], header, payload)
	frame[14+6] = 43
	be.BigEndian.PutUint16(frame[14+4:], uint16(len(header)+len(payload)))
	return frame
}

// routeLocalnet reaches a loopback address from the wire, as kube-proxy lets it.
func routeLocalnet(address string) func(*openHost) func() bool {
	return func(h *openHost) func() bool {
		sysctl(h.tb, h.lab.Host, "ipv4/conf/all/route_localnet", "1")
		sysctl(h.tb, h.lab.Host, "ipv4/conf/eth0/route_localnet", "1")
		wire := listenIn(h.tb, h.lab.Wire, "eth0")
		client := netip.AddrPortFrom(netlab.Unlisted4, 4000)
		frame := labtest.Must(h.link().SYN(client, netip.AddrPortFrom(netip.MustParseAddr(address), port)))(h.tb)
		return func() bool { return h.answers(wire, h.link(), frame, client) }
	}
}

// sourceRouted is a SYN with a loose source route that came by the attacker: so does
// the answer, whatever the source.
func sourceRouted(source netip.Addr) func(*openHost) func() bool {
	return func(h *openHost) func() bool {
		wire := listenIn(h.tb, h.lab.Wire, "eth0")
		client := netip.AddrPortFrom(source, 4000)
		hop := netlab.Unlisted4.Next()
		frame := disguise.WithOptions(labtest.Must(h.link().SYN(client, h.api4()))(h.tb),
			append(append([]byte{131, 7, 8}, hop.AsSlice()...), 0))
		return func() bool {
			if !h.answers(wire, h.link(), frame, client) {
				return false
			}
			if via := wire.answerTo(client).via; via != hop {
				h.tb.Errorf("the answer to %s goes to %s, want it at the hop %s", client, via, hop)
			}
			return true
		}
	}
}
