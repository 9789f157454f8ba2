package control

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

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

// copying is an engine that answers with a list of its own to each, as a daemon does.
type copying struct{ *engine }

func (c copying) List(ctx context.Context, r api.ListRequest) (api.Listing, error) {
	listing, err := c.engine.List(ctx, r)
	listing.Entries = slices.Clone(listing.Entries)
	return listing, err
}

// Promise: however many ask for the list and do not read it, the daemon holds two lists for
// them, and nothing as JSON.
func TestSlowReadersAreCheap(t *testing.T) {
	const entries, askers = 100_000, 8
	e := copying{&engine{}}
	for i := range entries {
		e.listing.Entries = append(e.listing.Entries, api.Entry{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Note: strings.Repeat("x", 100),
		})
	}
	socket, _ := start(t, e, system)
	before := heap()
	for range askers {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET %s?unused=0s&expiring=0s HTTP/1.1\r\nHost: xdpallow\r\n\r\n", pathEntries); err != nil {
			t.Fatal(err)
		}
	}
	// When one more is told, two are being written to, and the others were told, or wait.
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := NewClient(socket).List(t.Context(), api.ListRequest{})
		if err != nil && strings.Contains(err.Error(), "2 lists are being read") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("one more reader: %v", err)
		}
	}
	const list, slack = entries * int64(unsafe.Sizeof(api.Entry{})), 1 << 20
	grown := int64(heap()) - int64(before)
	t.Logf("%d readers: %d bytes; a list has %d", askers, grown, list)
	if grown > mostReaders*list+slack {
		t.Errorf("the heap has grown by %d bytes for %d readers, over %d lists of %d", grown, askers, mostReaders, list)
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
