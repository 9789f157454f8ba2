// This file ends connections: a client that was just stopped is often still connected, and
// with HTTP/2 stays so for weeks.

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

// Cut ends the connections to ports for which chosen returns true, and returns those that it
// ended. The peer gets a RST where the protocol asks for one, calls of the server fail with
// ECONNABORTED, and listeners go on. Publish the policy first: a client that may still connect
// does so at once. A connection over Multipath TCP gets no RST: it carries nothing more, and
// lives on in name until it times out or a new subflow, which is an opening, joins it.
//
// Half-open connections are ended too, because their last ACK would establish them, but not
// returned, because a flood makes any number of them. Cut looks twice: some openings were let
// in before the policy changed, and a socket can be missed when others come and go beside it.
//
// Errors are [ErrNoDiag], [ErrNoDestroy], or EPERM where CAP_NET_ADMIN is missing; with an
// error it returns what it had ended by then.
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

// Destroy ends exactly these connections, and returns those that it ended. A connection that
// is gone already is no error, and is not returned. A newer one with the same addresses and
// ports is left alone. Destroy stops at the first error; errors are those of [Cut].
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
