package sockets_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// Promise: a plan and `list --unused` name whoever is connected to a protected port,
// by the address that the policy knows, and nobody else.
func TestEstablished(t *testing.T) {
	h := newHost(t)
	v4 := h.dial(t, netlab.Listed4, port4)
	dual4 := h.dial(t, netlab.Listed4, portDual) // ::ffff:203.0.113.7 for the server
	dual6 := h.dial(t, netlab.Listed6, portDual)
	h.dial(t, netlab.Unlisted4, portOther)
	out := dial(t, h.Host, netip.Addr{}, netip.AddrPortFrom(netlab.Unlisted4, port4))
	out.echoes(t)

	conn := func(c client, port uint16) sockets.Conn {
		return sockets.Conn{Local: h.to(c.local().Addr(), port), Peer: c.local(), State: sockets.StateEstablished}
	}
	byPeer := func(a, b sockets.Conn) int { return a.Peer.Compare(b.Peer) }
	for name, test := range map[string]struct {
		ports []uint16
		want  []sockets.Conn
	}{
		"both ports":           {protected, []sockets.Conn{conn(v4, port4), conn(dual4, portDual), conn(dual6, portDual)}},
		"IPv4 listener":        {[]uint16{port4}, []sockets.Conn{conn(v4, port4)}},
		"dual-stack listener":  {[]uint16{portDual}, []sockets.Conn{conn(dual4, portDual), conn(dual6, portDual)}},
		"a port named twice":   {[]uint16{port4, port4}, []sockets.Conn{conn(v4, port4)}},
		"ports of no listener": {[]uint16{1, 442, 444, 65535}, nil},
		"no ports":             {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			slices.SortFunc(test.want, byPeer)
			got := h.established(t, test.ports...)
			if diff := cmp.Diff(test.want, got, visible(), cmpopts.EquateEmpty()); diff != "" {
				t.Error("want (-), got (+):\n", diff)
			}
		})
	}
}

// visible leaves out what only the kernel can know.
func visible() cmp.Option {
	return cmp.Options{
		cmpopts.EquateComparable(netip.AddrPort{}),
		cmpopts.IgnoreUnexported(sockets.Conn{}),
		cmpopts.IgnoreFields(sockets.Conn{}, "Inode"),
	}
}

// Promise: a host with a hundred thousand connections to elsewhere does not pay for
// them: the kernel itself leaves out what lies outside the range.
func TestKernelFiltersByPort(t *testing.T) {
	h := newHost(t)
	for _, port := range []uint16{port4, portOther, portDual} {
		h.dial(t, netlab.Listed4, port)
	}
	for _, test := range []struct {
		low, high uint16
		want      []uint16
	}{
		{0, 65535, []uint16{port4, portOther, portDual}},
		{port4, portOther, []uint16{port4, portOther}},
		{port4 + 1, portDual - 1, []uint16{portOther}},
		{portDual, portDual, []uint16{portDual}},
		{portDual + 1, 65535, nil},
	} {
		var got []uint16
		for _, c := range h.read(t, func() ([]sockets.Conn, error) {
			return sockets.Dump(test.low, test.high, sockets.StateEstablished)
		}) {
			got = append(got, c.Local.Port())
		}
		if slices.Sort(got); !slices.Equal(got, test.want) {
			t.Errorf("%d to %d: %v, want %v", test.low, test.high, got, test.want)
		}
	}
}

// Promise: a peer with ten connections is one peer, and one a port.
func TestPeers(t *testing.T) {
	h := newHost(t)
	for range 10 {
		h.dial(t, netlab.Listed4, port4)
		h.dial(t, netlab.Listed4, portDual)
	}
	h.dial(t, netlab.Listed6, portDual)
	want := map[policy.Peer]int{
		{Addr: netlab.Listed4, Port: port4}:    1,
		{Addr: netlab.Listed4, Port: portDual}: 1,
		{Addr: netlab.Listed6, Port: portDual}: 1,
	}
	got := make(map[policy.Peer]int)
	for _, peer := range sockets.Peers(h.established(t, protected...)) {
		got[peer]++
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(policy.Peer{})); diff != "" {
		t.Error("want (-), got (+):\n", diff)
	}
}

// Promise: the guard rail finds the operator's own session: whichever its port, and by
// the inode that /proc/PID/fd shows.
func TestInodeIsTheDescriptors(t *testing.T) {
	h := newHost(t)
	c := h.dial(t, netlab.Listed4, portOther)
	h.dial(t, netlab.Listed4, portOther)
	server := fileOf(t, <-h.held)
	link := labtest.Must(os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(int(server.Fd())))))(t)

	var peers []netip.AddrPort
	for _, conn := range h.read(t, sockets.EstablishedAnywhere) {
		if link == fmt.Sprintf("socket:[%d]", conn.Inode) {
			peers = append(peers, conn.Peer)
		}
	}
	if !slices.Equal(peers, []netip.AddrPort{c.local()}) {
		t.Errorf("%s is held for %v, want %s alone", link, peers, c.local())
	}
}
