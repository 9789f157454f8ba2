package enrol

// This file bounds how many connections there are: a handshake costs a millisecond of CPU, and whoever opens one
// and says nothing holds a place for as long as he may.

import (
	"net"
	"net/netip"
	"sync"

	"github.com/xdpallow/xdpallow/loader/enrol"
)

type boundedListener struct {
	net.Listener
	places chan struct{} // as many as there may be connections

	mu   sync.Mutex
	open map[netip.Prefix]int
}

// bounded returns l with at most atOnce connections, and perSource from one address.
func bounded(l net.Listener) net.Listener {
	return &boundedListener{Listener: l, places: make(chan struct{}, atOnce), open: map[netip.Prefix]int{}}
}

// Accept waits for a place and then for a connection; the others wait in the kernel's queue.
func (l *boundedListener) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.places
			return nil, err
		}
		from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		source := enrol.Prefix(from.Addr())
		if err == nil && l.take(source) {
			return &place{Conn: conn, free: sync.OnceFunc(func() {
				l.give(source)
				<-l.places
			})}, nil
		}
		conn.Close()
	}
}

func (l *boundedListener) take(source netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[source] >= perSource {
		return false
	}
	l.open[source]++
	return true
}

func (l *boundedListener) give(source netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[source]--; l.open[source] == 0 {
		delete(l.open, source)
	}
}

// place is a connection that holds a place until it is closed.
type place struct {
	net.Conn
	free func()
}

func (p *place) Close() error {
	defer p.free()
	return p.Conn.Close()
}
