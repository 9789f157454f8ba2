// This file ends connections: a client that was stopped just now is often connected,
// and stays so for weeks if it speaks HTTP/2.

package sockets

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrNoDiag says that the kernel has no table of sockets to ask.
var ErrNoDiag = errors.New("this kernel does not list sockets (CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG, or module tcp_diag)")

// ErrNoDestroy says that the kernel cannot end a connection from outside.
var ErrNoDestroy = errors.New("this kernel does not end connections (CONFIG_INET_DIAG_DESTROY is not set)")

// Cut ends the connections to ports that chosen picks, and returns those that it
// ended. The peer gets a RST if the kernel owes it one, the server's calls fail with
// ECONNABORTED, listeners go on. Publish the policy first: who may still connect does
// so again at once. The ends of a connection over Multipath TCP are not told: it
// carries nothing more, and lives on in name until it times out or a new subflow, which
// is an opening, joins it.
//
// Half-open connections are ended with the rest, because their last ACK would
// establish them, and not returned, because a flood makes any number of them. It looks
// twice: for openings that were let in before the policy changed, and because a socket
// can be missed when others come and go beside it.
//
// Returns what was ended, with [ErrNoDiag], [ErrNoDestroy], or EPERM where
// CAP_NET_ADMIN is missing.
func Cut(ports []uint16, chosen func(Conn) bool) ([]Conn, error) {
	var cut []Conn
	for range 2 {
		conns, err := unfinished(ports)
		if err != nil {
			return cut, err
		}
		conns = slices.DeleteFunc(conns, func(c Conn) bool { return !chosen(c) })
		ended, err := Destroy(conns)
		for _, c := range ended {
			if c.State != StateSynReceived {
				cut = append(cut, c)
			}
		}
		if err != nil {
			return cut, err
		}
	}
	return cut, nil
}

// Destroy ends these very connections, and returns those that it ended: one that has
// gone meanwhile is none of them and no error, and another one with the same addresses
// and ports is left alone. It stops at the first error; they are those of [Cut].
func Destroy(conns []Conn) (ended []Conn, err error) {
	if len(conns) == 0 {
		return nil, nil
	}
	kernel, err := openKernel()
	if err != nil {
		return nil, fmt.Errorf("end connections: %w", err)
	}
	defer kernel.close()
	for _, c := range conns {
		switch err := kernel.destroy(c); {
		case err == nil:
			ended = append(ended, c)
		case errors.Is(err, unix.ENOENT): // gone
		default:
			return ended, fmt.Errorf("end connection of %s to %s: %w", c.Peer, c.Local, destroyError(err))
		}
	}
	return ended, nil
}

func destroyError(err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return ErrNoDestroy
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("needs CAP_NET_ADMIN: %w", err)
	default:
		return err
	}
}
