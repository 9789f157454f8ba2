package maps_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// Promise: many entries, some within others, are added in place and taken out in place, and the
// kernel then judges every source as the model does.
func TestManyInPlace(t *testing.T) {
	r, now := newRand(t), boottime(t)
	m := randomModel(r, 100, now)
	tables := mapstest.Tables(t, m.policy(1))
	shadow := mapstest.Load(t, tables, true)
	more := randomModel(r, 400, now)
	var put []maps.Entry
	var remove []netip.Prefix
	for p, e := range more.entries {
		if _, stands := m.entries[p]; stands {
			continue
		}
		e.Services, e.Owner = maps.EveryService, 0
		wide := []maps.Entry{e}
		if _, err := tables.Patch(wide, nil, 2); errors.Is(err, maps.ErrPatch) { // too many bits of the prefilter
			continue
		}
		if _, err := tables.Patch(nil, []netip.Prefix{p}, 2); err != nil {
			t.Fatal(err)
		}
		put, remove = append(put, e), append(remove, p)
		m.put(e)
	}
	check := func() {
		t.Helper()
		compareEntries(t, tables, m)
		for _, p := range remove {
			for _, source := range edges(p) {
				compare(t, shadow, m, source, now)
			}
		}
	}
	if err := tables.Grow(put, 3); err != nil || tables.Generation() != 3 {
		t.Fatalf("grown to generation %d: %v", tables.Generation(), err)
	}
	check()
	if _, err := tables.Shrink(remove, 4); err != nil || tables.Generation() != 4 {
		t.Fatalf("shrunk to generation %d: %v", tables.Generation(), err)
	}
	for _, p := range remove {
		m.remove(p)
	}
	check()
	if len(put) < 100 {
		t.Errorf("%d entries are too few to tell", len(put))
	}
}

// Promise: a source sees one change, while thousands of entries are put or removed: whoever is
// stopped within a network that comes with the stop, or goes with it, is never let in.
func TestNobodySeesHalfOfMany(t *testing.T) {
	tables := mapstest.Tables(t, policyOf(1, "192.0.2.0/24"))
	shadow := mapstest.Load(t, tables, true)
	var put []maps.Entry
	var remove []netip.Prefix
	add := func(prefix string, stop bool) {
		e := entriesOf(prefix)[0]
		e.Suspended = stop
		put, remove = append(put, e), append(remove, e.Prefix)
	}
	add("10.0.0.0/13", false)
	for i := range 1000 {
		add(fmt.Sprintf("11.%d.%d.0/24", i>>8, i&255), false)
	}
	add("10.1.2.3/32", true)
	for generation, step := range []func(uint64) error{
		func(n uint64) error { return tables.Grow(put, n) },
		func(n uint64) error { _, err := tables.Shrink(remove, n); return err },
	} {
		done := make(chan error)
		go func() { done <- step(uint64(generation + 2)) }()
		for asked, end := 0, false; !end; asked++ {
			select {
			case err := <-done:
				if end = true; err != nil || asked == 0 {
					t.Errorf("step %d: asked %d times, %v", generation, asked, err)
				}
			default:
				if reason := ask(t, shadow, "10.1.2.3"); reason == maps.Listed {
					t.Fatalf("step %d: who is stopped was let in", generation)
				}
			}
		}
	}
}
