package enrol

import (
	"net"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: there are never more connections than places, nor more of them from one address than its share; who comes
// then waits, and has the next place that is free.
func TestPlaces(t *testing.T) {
	inner := labtest.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer inner.Close()
	l := bounded(inner)
	dial := func(from byte) {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
		conn := labtest.Must(d.Dial("tcp", inner.Addr().String()))(t)
		t.Cleanup(func() { conn.Close() })
	}
	accepted := make(chan net.Conn, 2*atOnce)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	for range 3 * perSource { // two thirds of them are sent away
		dial(1)
	}
	for i := range atOnce {
		dial(byte(2 + i/perSource))
	}
	var open []net.Conn
	for range atOnce {
		open = append(open, <-accepted)
	}
	select {
	case <-accepted:
		t.Fatalf("more than %d connections at once", atOnce)
	case <-time.After(100 * time.Millisecond):
	}
	from := map[string]int{}
	for _, conn := range open {
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		from[host]++
	}
	for host, n := range from {
		if n > perSource {
			t.Errorf("%d connections from %s, at most %d", n, host, perSource)
		}
	}
	for i := range perSource { // as many as still wait
		open[i].Close()
		open[i].Close() // gives no second place
		if conn, ok := <-accepted; !ok || conn == nil {
			t.Fatal("a free place is given to nobody")
		}
	}
	select {
	case <-accepted:
		t.Error("a connection that was closed twice has given two places")
	case <-time.After(100 * time.Millisecond):
	}
}
