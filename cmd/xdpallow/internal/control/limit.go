package control

import (
	"net"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/places"
)

// perUser is how many connections one user may have open. Commands have one each, and a
// monitoring system some; those that follow events stay open.
const perUser = 256

func limit(l net.Listener) net.Listener {
	return places.New(l, perUser, 0, func(conn net.Conn) (uint32, error) {
		cred, err := credentials(conn)
		if err != nil {
			return 0, err
		}
		return cred.Uid, nil
	})
}

// unixConn is the unix socket of a connection, counted or not.
func unixConn(conn net.Conn) (*net.UnixConn, bool) {
	if c, ok := conn.(*places.Conn); ok {
		conn = c.Conn
	}
	uc, ok := conn.(*net.UnixConn)
	return uc, ok
}
