package control

// This file decides who may do what: the kernel says which process is at the
// other end, the group database says what its user may ask for.

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// The groups that may use the socket beside uid 0. A group that does not
// exist is nobody.
const (
	ReadGroup  = "xdpallow"       // asks
	AdminGroup = "xdpallow-admin" // asks and changes
)

// peer is the process at the other end of a connection and what it may do.
type peer struct {
	reconcile.Caller
	read, write bool
	err         error // why it is unknown; then it may do nothing
}

type peerKey struct{}

// withPeer is http.Server.ConnContext: credentials are read once, when the
// connection is accepted, so a socket handed to another process later keeps
// the rights of the one that opened it, as for any other file descriptor.
func (d directory) withPeer(ctx context.Context, conn net.Conn) context.Context {
	var p peer
	cred, err := credentials(conn)
	if err != nil {
		p.err = err
	} else {
		p.Caller = reconcile.Caller{UID: cred.Uid, PID: cred.Pid}
		p.read, p.write = d.rights(cred)
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// credentials returns the process that opened the other end of conn; on the
// client's side that is the process that listens.
func credentials(conn net.Conn) (*unix.Ucred, error) {
	uc, ok := conn.(*net.UnixConn)
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

// directory looks users and groups up.
type directory struct {
	groupID func(group string) (gid string, ok bool)
	groups  func(uid uint32) []string // gids; nil for a user that is not there
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
	groups: func(uid uint32) []string {
		u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
		if err != nil {
			return nil
		}
		gids, err := u.GroupIds()
		if err != nil {
			return nil
		}
		return gids
	},
}

// rights errs on the side of refusing: a lookup that fails grants nothing.
func (d directory) rights(cred *unix.Ucred) (read, write bool) {
	if cred.Uid == 0 {
		return true, true
	}
	// SO_PEERCRED carries only the primary group; the others come from the database.
	gids := append(d.groups(cred.Uid), strconv.FormatUint(uint64(cred.Gid), 10))
	member := func(group string) bool {
		gid, ok := d.groupID(group)
		return ok && slices.Contains(gids, gid)
	}
	write = member(AdminGroup)
	return write || member(ReadGroup), write
}
