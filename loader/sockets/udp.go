// This file finds UDP servers: whoever guards a TCP port often forgets the UDP port of the
// same number.

package sockets

import (
	"slices"

	"golang.org/x/sys/unix"
)

// UDPServers returns those of ports that have a UDP socket for everybody's datagrams: one that
// is neither connected to a peer nor bound to a loopback address. The ports are sorted, each
// once. It needs no privilege.
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
