package control

// This file finds out whether the caller still waits. A daemon that was stopped, or busy,
// finds requests of callers who have gone: the server notices that only later.

import (
	"context"
	"net"

	"golang.org/x/sys/unix"
)

// attended is the context of a change. It does not end when the daemon is told to stop. Err
// reports that it is over if the caller has closed the connection by then.
type attended struct {
	context.Context
	conn net.Conn // of the caller
}

// Err implements context.Context.
func (a attended) Err() error {
	if closed(a.conn) {
		return context.Canceled
	}
	return nil
}

// closed reports whether the other end of conn is closed, and not only done with writing.
// Of a connection that cannot be asked nothing is known.
func closed(conn net.Conn) (gone bool) {
	uc, ok := unixConn(conn)
	if !ok {
		return false
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(ask, 0)
		gone = err == nil && n > 0 && ask[0].Revents&unix.POLLHUP != 0
	})
	return err == nil && gone
}
