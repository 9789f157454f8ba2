package sockets_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// Promise: a UDP server on one of the ports is found, whatever address it is bound to; a
// client, a server for the host alone and one on another port are not.
func TestUDPServers(t *testing.T) {
	h := newHost(t)
	listen := func(addr string) net.PacketConn {
		conn := labtest.Must(labtest.ListenPacket(h.Host, "udp", addr))(t)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for _, addr := range []string{"0.0.0.0:443", "[::]:444", "10.80.0.1:445", "[fd80::1]:445", "127.0.0.1:446", "[::1]:446", ":5000"} {
		listen(addr)
	}
	client := labtest.Must(h.Host.DialContext(t.Context(), "udp", netip.MustParseAddr("10.80.0.1"), netip.AddrPortFrom(netlab.Listed4, 53).String()))(t)
	defer client.Close()
	connected := client.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	for _, c := range []struct{ ports, want []uint16 }{
		{[]uint16{446, 445, 444, 443, connected}, []uint16{443, 444, 445}},
		{[]uint16{443, 443}, []uint16{443}},
		{[]uint16{442, 446, connected}, nil},
		{nil, nil},
	} {
		var got []uint16
		err := h.Host.Do(func() (err error) {
			got, err = sockets.UDPServers(c.ports)
			return err
		})
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("of %v (-want +got), %v\n%s", c.ports, err, diff)
		}
	}
}
