package control

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// Promise: who asks for the list and does not read it keeps a copy of it in the daemon: at
// most two do at a time. A third is told so, and is served when one of them has gone.
func TestSlowReaders(t *testing.T) {
	e := &engine{}
	for i := range 100_000 { // more than a socket holds
		e.listing.Entries = append(e.listing.Entries, api.Entry{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Note: strings.Repeat("x", 100),
		})
	}
	socket, _ := start(t, e, system)
	slow := func() net.Conn {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_, err = fmt.Fprintf(conn, "GET %s?unused=0s&expiring=0s HTTP/1.1\r\nHost: xdpallow\r\n\r\n", pathEntries)
		}
		first := make([]byte, 1)
		if err == nil {
			_, err = conn.Read(first) // the answer has begun
		}
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	one, two := slow(), slow()
	defer two.Close()
	if _, err := NewClient(socket).List(t.Context(), api.ListRequest{}); err == nil || !strings.Contains(err.Error(), "2 lists are being read") {
		t.Errorf("a third reader: %v", err)
	}
	one.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		listing, err := NewClient(socket).List(t.Context(), api.ListRequest{})
		if err == nil && len(listing.Entries) == len(e.listing.Entries) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after one of them had gone: %v", err)
		}
	}
}
