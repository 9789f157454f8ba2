// Who looks at the tables beside a publish: nothing that he reads is torn, closed, or
// counted twice.
package maps_test

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// Promise: how often an entry was used is known at any moment of a publish. Packets come
// in while one publish follows the other; who adds up what was retired, and reads Use
// under the same lock, never sees less than before, and in the end each packet once.
func TestUseBesidePublishes(t *testing.T) {
	tables := mapstest.Tables(t, policyOf(1, "192.0.2.0/24", "2001:db8::/32"))
	gate := mapstest.Load(t, tables, false)
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	var mu sync.RWMutex // of folded, as the caller of Publish has one
	var folded uint64
	known := func() uint64 {
		mu.RLock()
		defer mu.RUnlock()
		hits, _, err := tables.Use(prefix)
		if err != nil {
			t.Error(err)
		}
		return folded + hits
	}
	stop := make(chan struct{})
	var looking sync.WaitGroup
	for range 2 {
		looking.Go(func() {
			for before := uint64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				now := known()
				if now < before {
					t.Errorf("used %d times, and %d before", now, before)
				}
				before = now
				if tables.Generation() == 0 || tables.Stale() {
					t.Error("the tables are stale")
				}
				if _, err := tables.Tries(); err != nil {
					t.Error(err)
				}
				if _, found, err := tables.Lookup(prefix); err != nil || !found {
					t.Errorf("%s is there: %v, %v", prefix, found, err)
				}
			}
		})
	}
	frame := mapstest.Opening(addr("192.0.2.1"), port).Bytes()
	var sent uint64
	for generation := range uint64(50) {
		const each = 1000
		if _, err := gate.Program.Run(&ebpf.RunOptions{Data: frame, Repeat: each}); err != nil {
			t.Fatal(err)
		}
		sent += each
		used, err := tables.Publish(policyOf(generation+2, "192.0.2.0/24", "2001:db8::/32"))
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		for _, e := range used {
			if e.Prefix == prefix {
				folded += uint64(e.Hits)
			}
		}
		err = tables.Release()
		mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	looking.Wait()
	if got := known(); got != sent {
		t.Errorf("used %d times, want %d", got, sent)
	}
	if generation := tables.Generation(); generation != 51 {
		t.Errorf("generation %d, want 51", generation)
	}
}
