package e2e

// This file scans the host as port scanners do, with segments that belong to no
// connection.

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: the gate makes the host no more talkative than bare Linux, whose listener is
// silent to a segment without SYN, ACK and RST. The backstop would hide that listener and
// so draw a reset; such segments of unlisted sources are dropped before it, in every scope.
func TestScansAreNotAnswered(t *testing.T) {
	for _, scope := range []string{"syn", "stray", "strict"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.serve()
			wire := listenIn(t, h.lab.Wire, "eth0")
			h.run(append([]string{"--drop", scope}, allowed...)...)
			send := func(source, host netip.Addr, from uint16, flags labtest.Flags) netip.AddrPort {
				client := netip.AddrPortFrom(source, from)
				frame := labtest.Must(labtest.Segment{
					SrcMAC: h.link().WireMAC, DstMAC: h.link().HostMAC, Src: client, Dst: netip.AddrPortFrom(host, port), Flags: flags,
				}.Frame())(t)
				if err := h.link().Send(frame); err != nil {
					t.Fatal(err)
				}
				return client
			}
			scans := []labtest.Flags{labtest.FIN, 0, labtest.FIN | labtest.PSH | labtest.URG, labtest.PSH, labtest.ECE | labtest.CWR}
			reason := map[string]string{"syn": "not_listed", "stray": "stray", "strict": "not_listed"}[scope]
			for family, c := range map[string]struct{ listed, unlisted, host netip.Addr }{
				"ipv4": {netlab.Listed4, netlab.Unlisted4, h.link().Host4},
				"ipv6": {netlab.Listed6, netlab.Unlisted6, h.link().Host6},
			} {
				var silent []netip.AddrPort
				for i, flags := range scans {
					silent = append(silent, send(c.unlisted, c.host, uint16(40000+i), flags), send(c.listed, c.host, uint16(40000+i), flags))
				}
				// An ACK without a connection is answered, behind all that was sent before.
				last := send(c.listed, c.host, 50000, labtest.ACK)
				h.eventually(fmt.Sprintf("%s: the ACK is answered", last), func() bool { return wire.hears(last) })
				for _, client := range silent {
					if wire.hears(client) {
						t.Errorf("a scan from %s was answered", client)
					}
				}
				if dropped := h.packets("xdp", "drop", reason, family); dropped != uint64(len(scans)) {
					t.Errorf("%s: %d scans dropped as %s, %d were sent by an unlisted source", family, dropped, reason, len(scans))
				}
				// Of a listed source they pass: nothing of his is dropped that was not before.
				if passed := h.packets("xdp", "pass", "listed", family); passed < uint64(len(scans)) {
					t.Errorf("%s: %d packets of the listed source passed, %d scans were sent", family, passed, len(scans))
				}
			}
		})
	}
}
