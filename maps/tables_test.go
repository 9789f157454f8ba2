// Tables outlive the daemon that made them, and are never full.
package maps_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

func TestAdopt(t *testing.T) {
	first, pins := open(t, oldPolicy())
	gate := mapstest.Load(t, first, false)
	gate.Run(t, mapstest.Opening(addr("192.0.2.1"), port).Bytes())
	before := liveEntries(t, first)
	first.Close()

	second := reopen(t, pins)
	if second.Stale() || second.Generation() != 7 {
		t.Fatalf("stale %v, generation %d", second.Stale(), second.Generation())
	}
	if diff := cmp.Diff(before, liveEntries(t, second), comparePrefixes); diff != "" {
		t.Errorf("entries (-before +after)\n%s", diff)
	}
	if same, err := second.SameServices(oldPolicy()); !same || err != nil {
		t.Errorf("same services: %v, %v", same, err)
	}
	// The program that the first daemon loaded obeys the second.
	if _, err := second.Patch(entriesOf("10.5.0.0/16"), nil, 8); err != nil {
		t.Fatal(err)
	}
	gate.Run(t, mapstest.Opening(addr("10.5.0.1"), port).Bytes())
	used, err := second.Publish(newPolicy())
	if err != nil {
		t.Fatal(err)
	}
	wantHits(t, "used under both daemons", used, map[string]uint32{"192.0.2.0/24": 1, "10.5.0.0/16": 1})
	gate.Run(t, mapstest.Opening(addr("192.0.2.1"), port).Bytes())
	if got := gate.Counted(t)[counters.Series{Verdict: maps.Drop, Reason: maps.NotListed}].Packets; got != 1 {
		t.Errorf("%d dropped after the publish", got)
	}
}

// A reader opens what is there and makes nothing, and sees what the writer does.
func TestLoadTables(t *testing.T) {
	writer, pins := open(t, oldPolicy())
	reader, err := maps.LoadTables(pins)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if diff := cmp.Diff(liveEntries(t, writer), liveEntries(t, reader), comparePrefixes); diff != "" || reader.Generation() != 7 {
		t.Errorf("generation %d, entries (-writer +reader)\n%s", reader.Generation(), diff)
	}
	pins.Unpin("local")
	before := len(pins)
	if _, err := maps.LoadTables(pins); !errors.Is(err, os.ErrNotExist) || len(pins) != before {
		t.Errorf("without a map: %v, %d pins, want %d", err, len(pins), before)
	}
	if _, err := maps.LoadTables(mapstest.Pins{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without any map: %v", err)
	}
}

// A crash can leave a pin that is another map than the one in use, or none.
func TestStaleTablesArePublishedAnew(t *testing.T) {
	spoil := map[string]func(t *testing.T, pins mapstest.Pins, name string){
		"another map": func(t *testing.T, pins mapstest.Pins, name string) {
			info, err := pins[name].Info()
			if err != nil {
				t.Fatal(err)
			}
			other, err := ebpf.NewMap(&ebpf.MapSpec{
				Type: ebpf.LPMTrie, KeySize: info.KeySize, ValueSize: info.ValueSize, MaxEntries: info.MaxEntries, Flags: info.Flags,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if err := pins.Pin(name, other); err != nil {
				t.Fatal(err)
			}
		},
		"no pin": func(_ *testing.T, pins mapstest.Pins, name string) { pins.Unpin(name) },
	}
	for what, spoil := range spoil {
		for _, family := range []string{"allow4", "allow6"} {
			t.Run(what+" "+family, func(t *testing.T) {
				first, pins := open(t, oldPolicy())
				shadow := mapstest.Load(t, first, true)
				spoil(t, pins, livePin(t, pins, family))
				second := reopen(t, pins)
				if !second.Stale() {
					t.Fatal("not stale")
				}
				if _, err := second.Patch(entriesOf("10.0.0.0/8"), nil, 8); !errors.Is(err, maps.ErrPatch) {
					t.Errorf("patch of stale tables: %v", err)
				}
				// What the kernel has goes on judging until it is replaced.
				if got := ask(t, shadow, "192.0.2.1"); got != maps.Listed {
					t.Errorf("stale: %v", got)
				}
				mapstest.Publish(t, second, newPolicy())
				if second.Stale() || second.Generation() != 8 || ask(t, shadow, "192.0.2.1") != maps.NotListed || ask(t, shadow, "10.5.0.1") != maps.Listed {
					t.Error("not repaired")
				}
				// The shared maps, and of each family the live trie and prefilter.
				if third := reopen(t, pins); third.Stale() || len(pins) != len(third.Replacements())+4 {
					t.Errorf("reopened: stale %v, %d pins", third.Stale(), len(pins))
				}
			})
		}
	}
}

// livePin is the one pinned trie of a family: the idle slot is empty.
func livePin(t *testing.T, pins mapstest.Pins, family string) string {
	t.Helper()
	var found []string
	for _, name := range []string{family + "-0", family + "-1"} {
		if pins[name] != nil {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		t.Fatalf("pins %v", found)
	}
	return found[0]
}

// numbered is the n-th of 16 million networks of one family.
func numbered(ipv4 bool, n int) maps.Entry {
	var b [16]byte
	if binary.BigEndian.PutUint32(b[:], 10<<24|uint32(n)); ipv4 {
		return maps.Entry{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 32), Services: maps.EveryService}
	}
	b[0] = 0x20
	return maps.Entry{Prefix: netip.PrefixFrom(netip.AddrFrom16(b), 48), Services: maps.EveryService}
}

func numberedPolicy(generation uint64, n int) maps.Policy {
	policy := policyOf(generation)
	for i := range n {
		policy.Entries = append(policy.Entries, numbered(i%2 == 0, i))
	}
	return policy
}

func TestTablesAreNeverFull(t *testing.T) {
	tables := mapstest.Tables(t, numberedPolicy(1, 10))
	shadow := mapstest.Load(t, tables, true)
	generation := uint64(1)
	grow := func(ipv4 bool) (n int, err error) {
		for ; n < 3000 && err == nil; n++ {
			generation++
			_, err = tables.Patch([]maps.Entry{numbered(ipv4, 1_000_000+n)}, nil, generation)
		}
		return n, err
	}
	for _, ipv4 := range []bool{true, false} {
		if n, err := grow(ipv4); err == nil || n < 1000 {
			t.Errorf("head-room ended after %d patches with %v", n, err)
		}
		if tables.Generation() != generation-1 {
			t.Errorf("generation %d after patch %d failed", tables.Generation(), generation)
		}
		generation--
	}
	const many = 50_000
	mapstest.Publish(t, tables, numberedPolicy(generation+1, many))
	if got := len(liveEntries(t, tables)); got != many {
		t.Errorf("%d entries, want %d", got, many)
	}
	for _, n := range []int{0, 1, many - 2, many - 1} {
		if got := ask(t, shadow, numbered(n%2 == 0, n).Prefix.Addr().String()); got != maps.Listed {
			t.Errorf("entry %d: %v", n, got)
		}
	}
	for _, n := range []int{many, many + 1, 1_000_000} {
		if got := ask(t, shadow, numbered(n%2 == 0, n).Prefix.Addr().String()); got != maps.NotListed {
			t.Errorf("entry %d: %v", n, got)
		}
	}
	if _, err := tables.Patch([]maps.Entry{numbered(true, 1_000_000)}, nil, generation+2); err != nil {
		t.Errorf("patch after the publish: %v", err)
	}
}
