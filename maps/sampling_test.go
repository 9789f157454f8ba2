// Sampling: a sample stands for as many as it says, and a flood that nobody reads costs
// samples and no more.
package maps_test

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// flood runs packets from two unlisted sources, one of them near a listed one.
func flood(t *testing.T, gate mapstest.Program, far, near int) {
	t.Helper()
	for source, n := range map[string]int{"198.51.100.9": far, "192.0.2.200": near} {
		frame := mapstest.Opening(addr(source), port).Bytes()
		if _, err := gate.Program.Run(&ebpf.RunOptions{Data: frame, Repeat: uint32(n)}); err != nil {
			t.Fatal(err)
		}
	}
}

func refused(t *testing.T, gate mapstest.Program) (packets uint64) {
	t.Helper()
	for series, count := range gate.Counted(t) {
		if series.Verdict != maps.Pass {
			packets += count.Packets
		}
	}
	return packets
}

// The weights of samples add up to the packets, whatever N is: for each counter and CPU
// within three N, for the choice is spread evenly and is not every Nth.
func TestWeightsAddUp(t *testing.T) {
	for _, n := range []uint32{1, 2, 59, 64, 1000} {
		tables := mapstest.Tables(t, eventsPolicy())
		gate, events := mapstest.Load(t, tables, false), openEvents(t, tables)
		if err := tables.SetSampling(n, n); err != nil {
			t.Fatal(err)
		}
		cpus := onEveryCPU(t, func() {
			flood(t, gate, 1000, 300)
			six := mapstest.Opening(addr("2001:db8:9::9"), port).Bytes()
			if _, err := gate.Program.Run(&ebpf.RunOptions{Data: six, Repeat: 777}); err != nil {
				t.Fatal(err)
			}
		})
		weight, packets, near := uint64(0), refused(t, gate), 0
		all := drained(t, events)
		for _, e := range all {
			if e.Weight != n {
				t.Errorf("%+v stands for %d, not for %d", e, e.Weight, n)
			}
			if weight += uint64(e.Weight); e.Near {
				near++
			}
		}
		const counters = 2 // one of each family, near misses in it
		t.Logf("one of %d: %d events, %d of them near, stand for %d of %d packets", n, len(all), near, weight, packets)
		slack := uint64(3 * counters * cpus * int(n))
		if n == 1 {
			slack = 0
		}
		if weight+slack < packets || weight > packets+slack || packets < 2000 {
			t.Errorf("one of %d: the events stand for %d of %d packets", n, weight, packets)
		}
		if lost, err := events.Lost(); lost != 0 || err != nil {
			t.Errorf("%d lost, %v", lost, err)
		}
	}
}

// sampling is of how many packets the kernel samples one now.
func sampling(t *testing.T, tables *maps.Tables) (all, near uint32) {
	t.Helper()
	var current bpf.XdpallowCurrent
	if err := tables.Replacements()[bpf.XdpallowMapCurrent].Lookup(uint32(0), &current); err != nil {
		t.Fatal(err)
	}
	one := func(share uint32) uint32 { return uint32(1 << 32 / uint64(max(share, 1))) }
	return one(current.Sample), one(current.SampleNear)
}

// With a reader who is dead the ring fills up; from then on the programs ask it less and
// less, and judge as before.
func TestFullRing(t *testing.T) {
	tables := mapstest.Tables(t, eventsPolicy())
	gate, events := mapstest.Load(t, tables, false), openEvents(t, tables)
	const packets, most = 100_000, 1 << 20
	flood(t, gate, packets, packets)
	lost, err := events.Lost()
	if err != nil {
		t.Fatal(err)
	}
	told := len(drained(t, events))
	all, near := sampling(t, tables)
	t.Logf("%d told, %d lost, one of %d and of %d", told, lost, all, near)
	if told < 1000 || lost == 0 {
		t.Errorf("%d told and %d lost of %d", told, lost, 2*packets)
	}
	if all < 2 || near < 2 || all > most || near > most {
		t.Errorf("one of %d and of %d", all, near)
	}
	// A lock for each of them would be the flood's way to stop all CPUs.
	if lost > 100 {
		t.Errorf("%d of %d packets still asked the full ring", lost, 2*packets)
	}
	if got := gate.Counted(t)[counters.Series{Verdict: maps.Drop, Reason: maps.NotListed, Family: maps.IPv4}].Packets; got < 2*packets {
		t.Errorf("%d of %d dropped", got, 2*packets)
	}
	for range 1000 {
		gate.Run(t, mapstest.Opening(addr("192.0.2.1"), port).Bytes())
	}
	if got := gate.Counted(t)[counters.Series{Verdict: maps.Pass, Reason: maps.Listed, Family: maps.IPv4}].Packets; got != 1000 {
		t.Errorf("%d of 1000 passed", got)
	}
	// The daemon is back.
	if err := tables.SetSampling(1, 1); err != nil {
		t.Fatal(err)
	}
	flood(t, gate, 10, 10)
	if got := len(drained(t, events)); got < 20 {
		t.Errorf("%d events after the reader came back", got)
	}
}

// What sampling was set to stands beside the live slot, and no change of that loses it.
func TestSamplingOutlivesPolicies(t *testing.T) {
	tables, pins := open(t, eventsPolicy())
	check := func(what string, tables *maps.Tables, wantAll, wantNear uint32) {
		t.Helper()
		if all, near := sampling(t, tables); all != wantAll || near != wantNear {
			t.Errorf("%s: one of %d and of %d, want %d and %d", what, all, near, wantAll, wantNear)
		}
	}
	for _, c := range []struct{ set, want uint32 }{{0, 1}, {1, 1}, {2, 2}, {3, 3}, {1000, 1000}, {1 << 20, 1 << 20}, {1 << 31, 1 << 20}, {1<<32 - 1, 1 << 20}} {
		if err := tables.SetSampling(c.set, 1); err != nil {
			t.Fatal(err)
		}
		check("set", tables, c.want, 1)
	}
	if err := tables.SetSampling(64, 8); err != nil {
		t.Fatal(err)
	}
	policy := eventsPolicy()
	policy.Generation = 2
	mapstest.Publish(t, tables, policy)
	check("published", tables, 64, 8)
	if _, err := tables.Patch(entriesOf("10.0.0.0/24"), nil, 3); err != nil {
		t.Fatal(err)
	}
	check("patched", tables, 64, 8)
	next := reopen(t, pins)
	policy.Generation = 4
	mapstest.Publish(t, next, policy)
	check("adopted and published", next, 64, 8)
}
