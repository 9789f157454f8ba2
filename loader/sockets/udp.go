// This file finds UDP servers: who guards a TCP port often forgets the same number of UDP.

package sockets

import (
	"slices"

	"golang.org/x/sys/unix"
)

// UDPServers returns which of the ports have a UDP socket that takes datagrams of
// everybody: one that is not connected to a peer, nor bound to a loopback address. Each
// port once, ascending. It needs no privilege.
//
// Returns [ErrNoDiag] where the kernel has no such table.
func UDPServers(ports []uint16) ([]uint16, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	sockets, err := dump(unix.IPPROTO_UDP, slices.Min(ports), slices.Max(ports), stateClose)
	var servers []uint16
	for _, s := range sockets {
		if !s.Local.Addr().IsLoopback() && slices.Contains(ports, s.Local.Port()) {
			servers = append(servers, s.Local.Port())
		}
	}
	slices.Sort(servers)
	return slices.Compact(servers), err
}
