// Package sockets lists the established connections to the protected ports, and ends them.
//
// A change of the policy stops openings. Connections that were open before go on in scope syn,
// and in scope strict hang with unsent data. Only the kernel's table of sockets knows whose
// they are, and only SOCK_DESTROY ends them.
//
// All functions work in the network namespace of the calling thread: that of the process,
// unless the caller has locked its thread and moved it. Connections of a container belong to
// the namespace of the container. Connections are those of TCP: a UDP server has one socket
// for all its clients, which [UDPServers] finds.
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
	StateSynReceived State = 3 // the last ACK of the handshake is missing: the peer may be spoofed
	StateFinWait1    State = 4
	StateFinWait2    State = 5
	StateCloseWait   State = 8
	StateLastAck     State = 9
	stateClose       State = 7 // of a UDP socket: not connected
	StateClosing     State = 11
)

// Conn is one TCP connection at the time when it was read.
type Conn struct {
	Local, Peer netip.AddrPort // never IPv4-mapped, never with a zone
	State       State
	Inode       uint32 // N of the "socket:[N]" in /proc/PID/fd; 0 if no process holds it (not accepted yet, or closed)

	// The kernel's id of the socket, with its cookie. It goes back to the kernel byte by
	// byte: an IPv4 client of an IPv6 listener has for the kernel another address and
	// another family than for us.
	family uint8
	id     [sizeofID]byte
}

// Established returns the established connections whose local port is one of ports, each once,
// ordered by peer. Half-open ones are left out, because a flood makes them in anybody's name;
// so are those that one side has closed, because a server that forgets to close keeps them for
// months. Without ports there are none. It needs no privilege. A connection that opens or
// closes during the call may be in the answer or not.
//
// Returns [ErrNoDiag] where the kernel has no such table.
func Established(ports []uint16) ([]Conn, error) {
	return read(ports, StateEstablished)
}

// EstablishedAnywhere is [Established] for all local ports. Established of no ports returns
// nothing instead: a policy without a TCP port protects nothing, and not everything.
func EstablishedAnywhere() ([]Conn, error) {
	return dump(unix.IPPROTO_TCP, 0, 65535, StateEstablished)
}

// unfinished returns the connections that [Cut] has to end: established ones, those in which
// data may still flow, and those that the next ACK establishes.
func unfinished(ports []uint16) ([]Conn, error) {
	conns, err := read(ports, StateEstablished, StateSynReceived, StateFinWait1,
		StateFinWait2, StateCloseWait, StateLastAck, StateClosing)
	// Closed by the server and acknowledged by the client: only a timer is left.
	over := func(c Conn) bool { return c.State == StateFinWait2 && c.Inode == 0 }
	return slices.DeleteFunc(conns, over), err
}

// Peers returns the pairs of peer and local port in conns, each once, in the order of conns.
// The port belongs to it because the policy answers by service.
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

// read has the kernel leave out what is below or above all ports. That is most of the table
// of a busy host: connections that the host opened have high local ports.
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

// dump reads both families. The kernel walks its table bucket by bucket, and returns a socket
// twice when another one was put in front of it meanwhile: duplicates are removed here.
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
