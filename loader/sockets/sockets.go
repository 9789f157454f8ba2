// Package sockets knows established connections: who is connected to the protected
// ports, and ending them.
//
// A change of the policy stops openings. What was opened before goes on in scope syn,
// and in scope strict hangs with unsent data; only the kernel's own table of sockets
// tells who that is, and only SOCK_DESTROY ends it.
//
// All functions work in the network namespace of the calling thread: that of the
// process, unless the caller has locked its thread and moved it. A namespace is a
// whole: a container's connections belong to the container's. Connections are those of
// TCP: a UDP server has one socket for all its clients, and only [UDPServers] tells of it.
package sockets

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// State is a TCP state, by the kernel's numbers (TCP_ESTABLISHED and so on).
type State uint8

// The states in which a socket has, or is about to have, somebody on its far end.
const (
	StateEstablished State = 1
	StateSynReceived State = 3 // the handshake's last ACK is missing: the peer may be spoofed
	StateFinWait1    State = 4
	StateFinWait2    State = 5
	StateCloseWait   State = 8
	StateLastAck     State = 9
	stateClose       State = 7 // of a UDP socket: not connected
	StateClosing     State = 11
)

// Conn is one TCP connection as it was when it was read.
type Conn struct {
	Local, Peer netip.AddrPort // never IPv4-mapped, never with a zone
	State       State
	Inode       uint32 // N of the "socket:[N]" in /proc/PID/fd; 0 if no process holds it (not accepted yet, or closed)

	// What the kernel calls the socket, cookie included, is handed back to it byte by
	// byte: an IPv4 client of an IPv6 listener has one address for us and another
	// one, with another family, for the kernel.
	family uint8
	id     [sizeofID]byte
}

// Established returns the established connections whose local port is one of ports,
// each once, ordered by peer; no ports, no connections. Half-open ones are left out,
// because a flood makes them in anybody's name, and so are those that one side has
// closed, because a server that forgets to close keeps them for months. It needs no
// privilege. Connections that open or close meanwhile may be there or not.
//
// Returns [ErrNoDiag] where the kernel has no such table.
func Established(ports []uint16) ([]Conn, error) {
	return read(ports, StateEstablished)
}

// EstablishedAnywhere is [Established] for all local ports. It is not what Established
// does for no ports: a policy without a TCP port protects nothing, not everything.
func EstablishedAnywhere() ([]Conn, error) {
	return dump(unix.IPPROTO_TCP, 0, 65535, StateEstablished)
}

// unfinished returns what [Cut] has to end: with the established connections those in
// which data may still flow, and those that the next ACK establishes.
func unfinished(ports []uint16) ([]Conn, error) {
	conns, err := read(ports, StateEstablished, StateSynReceived, StateFinWait1,
		StateFinWait2, StateCloseWait, StateLastAck, StateClosing)
	// Closed by the server and acknowledged by the client: a mere timer is left.
	over := func(c Conn) bool { return c.State == StateFinWait2 && c.Inode == 0 }
	return slices.DeleteFunc(conns, over), err
}

// Peers returns who is connected to which local port, each pair once, in the order of
// conns. That is what [policy] asks about: two entries may cover one peer, and the
// port says for which service.
func Peers(conns []Conn) []policy.Peer {
	var peers []policy.Peer
	seen := make(map[policy.Peer]bool)
	for _, c := range conns {
		peer := policy.Peer{Addr: c.Peer.Addr(), Port: c.Local.Port()}
		if !seen[peer] {
			seen[peer] = true
			peers = append(peers, peer)
		}
	}
	return peers
}

// read has the kernel leave out what is below or above all ports, which is most of a
// busy host's table: connections that the host has opened have high ones.
func read(ports []uint16, states ...State) ([]Conn, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	wanted := slices.Sorted(slices.Values(ports))
	conns, err := dump(unix.IPPROTO_TCP, wanted[0], wanted[len(wanted)-1], states...)
	return slices.DeleteFunc(conns, func(c Conn) bool {
		_, found := slices.BinarySearch(wanted, c.Local.Port())
		return !found
	}), err
}

// dump reads both families. The kernel walks its table bucket by bucket and tells a
// socket twice when another one was put before it meanwhile: such are dropped here.
func dump(protocol uint8, low, high uint16, states ...State) ([]Conn, error) {
	kernel, err := openKernel()
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	defer kernel.close()
	var conns []Conn
	for _, family := range families {
		if conns, err = kernel.list(conns, family, protocol, low, high, states); err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
	}
	slices.SortFunc(conns, func(a, b Conn) int {
		return cmp.Or(a.Peer.Compare(b.Peer), a.Local.Compare(b.Local),
			cmp.Compare(a.cookie(), b.cookie()), cmp.Compare(a.State, b.State))
	})
	return slices.CompactFunc(conns, func(a, b Conn) bool { return a.cookie() == b.cookie() }), nil
}
