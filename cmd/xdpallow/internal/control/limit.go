package control

// This file keeps one user's connections from taking all of the daemon's files, without
// which it can neither look at its gate nor answer anybody.

import (
	"net"
	"sync"
)

// perUser is how many connections one user may have open. Commands have one each, and a
// monitoring system some; those that follow events stay open.
const perUser = 256

// limited is a listener that turns connections of a user away who has too many.
type limited struct {
	net.Listener

	mu   sync.Mutex
	open map[uint32]int // by uid
}

func limit(l net.Listener) *limited { return &limited{Listener: l, open: map[uint32]int{}} }

// Accept returns the next connection that is not one too many.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		cred, err := credentials(conn)
		if err == nil && l.take(cred.Uid) {
			return &counted{Conn: conn, ended: sync.OnceFunc(func() { l.give(cred.Uid) })}, nil
		}
		conn.Close()
	}
}

func (l *limited) take(uid uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[uid] >= perUser {
		return false
	}
	l.open[uid]++
	return true
}

func (l *limited) give(uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[uid]--; l.open[uid] == 0 {
		delete(l.open, uid)
	}
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	ended func()
}

func (c *counted) Close() error {
	defer c.ended()
	return c.Conn.Close()
}

// unixConn is the unix socket of a connection, counted or not.
func unixConn(conn net.Conn) (*net.UnixConn, bool) {
	if c, ok := conn.(*counted); ok {
		conn = c.Conn
	}
	uc, ok := conn.(*net.UnixConn)
	return uc, ok
}
