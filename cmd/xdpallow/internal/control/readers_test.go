package control

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// many are more entries than a socket holds.
func many() (entries []api.Entry) {
	for i := range 100_000 {
		entries = append(entries, api.Entry{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Note: strings.Repeat("x", 100),
		})
	}
	return entries
}

// slow asks for the list, and does not read it.
func slow(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
		_, err = fmt.Fprintf(conn, "GET %s?unused=0s&expiring=0s HTTP/1.1\r\nHost: xdpallow\r\n\r\n", pathEntries)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// Promise: who asks for the list and does not read it keeps the state that it is of in the
// daemon: at most two do at a time. A third is told so, and is served when one of them has gone.
func TestSlowReaders(t *testing.T) {
	e := &engine{listing: api.Listing{Entries: many()}}
	socket, _ := start(t, e, system)
	begun := func() net.Conn {
		conn := slow(t, socket)
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	one, two := begun(), begun()
	defer two.Close()
	if _, err := NewClient(socket).List(t.Context(), api.ListRequest{}, io.Discard); err == nil || !strings.Contains(err.Error(), "2 lists are being read") {
		t.Errorf("a third reader: %v", err)
	}
	if _, err := NewClient(socket).Status(t.Context()); err != nil {
		t.Errorf("another question beside slow readers: %v", err)
	}
	one.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		entries, err := listing(t, NewClient(socket))
		if err == nil && len(entries) == len(e.listing.Entries) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after one of them had gone: %v", err)
		}
	}
}

// Promise: however many ask for the list and do not read it, the daemon holds no list for them:
// neither entries nor text.
func TestSlowReadersAreCheap(t *testing.T) {
	const askers = 8
	e := &engine{listing: api.Listing{Entries: many()}}
	socket, _ := start(t, e, system)
	before := heap()
	for range askers {
		slow(t, socket)
	}
	// When one more is told, two are being written to, and the others were told, or wait.
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := NewClient(socket).List(t.Context(), api.ListRequest{}, io.Discard)
		if err != nil && strings.Contains(err.Error(), "2 lists are being read") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("one more reader: %v", err)
		}
	}
	const slack = 1 << 20
	grown := int64(heap()) - int64(before)
	t.Logf("%d readers: %d bytes", askers, grown)
	if grown > slack {
		t.Errorf("the heap has grown by %d bytes for %d readers", grown, askers)
	}
	runtime.KeepAlive(e)
}

// heap is how many bytes are in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
