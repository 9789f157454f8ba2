package control

// This file decides who may do what: the kernel says which process is at the
// other end and which groups it is in, wherever those come from.

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/impact"
)

// The groups that may use the socket beside uid 0. A group that does not
// exist is nobody.
const (
	ReadGroup  = "xdpallow"       // asks
	AdminGroup = "xdpallow-admin" // asks and changes
)

// peer is the process at the other end of a connection and what it may do.
type peer struct {
	api.Caller
	read, write bool
	err         error // why it is unknown; then it may do nothing
	conn        net.Conn
}

type peerKey struct{}

// withPeer is http.Server.ConnContext: credentials are read once, when the
// connection is accepted, so a socket handed to another process later keeps
// the rights of the one that opened it, as for any other file descriptor.
func (d directory) withPeer(ctx context.Context, conn net.Conn) context.Context {
	return withPeer(ctx, conn, d.rights)
}

// withMember is withPeer for a socket whose only right belongs to a group.
func (d directory) withMember(group string) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, conn net.Conn) context.Context {
		return withPeer(ctx, conn, func(cred *unix.Ucred, supplementary []uint32) (read, write bool) {
			member := d.member(cred, supplementary, group)
			return member, member
		})
	}
}

func withPeer(ctx context.Context, conn net.Conn, rights func(*unix.Ucred, []uint32) (read, write bool)) context.Context {
	p := peer{conn: conn}
	cred, err := credentials(conn)
	if err != nil {
		p.err = err
	} else {
		p.Caller = api.Caller{UID: cred.Uid, PID: cred.Pid, LoginUID: impact.LoginUID(int(cred.Pid))}
		p.read, p.write = rights(cred, supplementary(conn))
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// credentials returns the process that opened the other end of conn; on the
// client's side that is the process that listens.
func credentials(conn net.Conn) (*unix.Ucred, error) {
	uc, ok := unixConn(conn)
	if !ok {
		return nil, fmt.Errorf("read peer credentials: %T is not a unix socket", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return nil, fmt.Errorf("read peer credentials: %w", err)
	}
	return cred, nil
}

// supplementary returns the groups of the process that opened the other end, beside its
// primary one: those that it had from its login or its unit. Without an answer there
// are none.
func supplementary(conn net.Conn) (gids []uint32) {
	uc, ok := unixConn(conn)
	if !ok {
		return nil
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil
	}
	// The kernel says how many there are when there is no room for them.
	gids = make([]uint32, 64)
	for {
		size := uint32(len(gids) * 4)
		var errno unix.Errno
		err := raw.Control(func(fd uintptr) {
			_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
				uintptr(unsafe.Pointer(unsafe.SliceData(gids))), uintptr(unsafe.Pointer(&size)), 0)
		})
		switch {
		case err != nil:
			return nil
		case errno == unix.ERANGE && int(size/4) > len(gids):
			gids = make([]uint32, size/4)
		case errno != 0:
			return nil
		default:
			return gids[:size/4]
		}
	}
}

// directory looks groups up: the gid of a name.
type directory struct {
	groupID func(group string) (gid string, ok bool)
}

// system is the host's own directory.
var system = directory{
	groupID: func(name string) (string, bool) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", false
		}
		return g.Gid, true
	},
}

// rights errs on the side of refusing: a lookup that fails grants nothing.
func (d directory) rights(cred *unix.Ucred, supplementary []uint32) (read, write bool) {
	write = d.member(cred, supplementary, AdminGroup)
	return write || d.member(cred, supplementary, ReadGroup), write
}

// member reports whether a process is in group; root is in every one.
func (d directory) member(cred *unix.Ucred, supplementary []uint32, group string) bool {
	if cred.Uid == 0 {
		return true
	}
	text, ok := d.groupID(group)
	gid, err := strconv.ParseUint(text, 10, 32)
	return ok && err == nil && (cred.Gid == uint32(gid) || slices.Contains(supplementary, uint32(gid)))
}
