// This file limits connections, because anybody may open them before he has shown a certificate.

package enrol

import (
	"net"
	"net/netip"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/places"
	"github.com/xdpallow/xdpallow/loader/enrol"
)

// bounded returns l with at most atOnce connections, and perSource from one address: a handshake costs a
// millisecond of CPU, and whoever opens one and says nothing holds a place for as long as he may.
func bounded(l net.Listener) net.Listener {
	return places.New(l, perSource, atOnce, func(conn net.Conn) (netip.Prefix, error) {
		from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		return enrol.Prefix(from.Addr()), err
	})
}
