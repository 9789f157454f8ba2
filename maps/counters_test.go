// Counters are exact, complete and never go backwards: what Prometheus is shown.
package maps_test

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// onEveryCPU runs do on each CPU that this process may use, and returns how many
// these are.
func onEveryCPU(t *testing.T, do func()) (cpus int) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &all)
	for cpu := 0; cpus < all.Count(); cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		var one unix.CPUSet
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Fatal(err)
		}
		do()
		cpus++
	}
	return cpus
}

func TestCountersAddUpAllCPUs(t *testing.T) {
	gate := mapstest.Load(t, mapstest.Tables(t, oldPolicy()), false)
	listed, unlisted := mapstest.Opening(addr("192.0.2.1"), port), mapstest.Opening(addr("2001:db8:9::1"), port)
	unlisted.Payload = 100
	cpus := onEveryCPU(t, func() {
		gate.Run(t, listed.Bytes())
		for range 2 {
			gate.Run(t, unlisted.Bytes())
		}
	})
	n := uint64(cpus)
	want := map[counters.Series]counters.Count{
		{Verdict: maps.Pass, Reason: maps.Listed, Family: maps.IPv4}:    {Packets: n, Bytes: n * 54},
		{Verdict: maps.Drop, Reason: maps.NotListed, Family: maps.IPv6}: {Packets: 2 * n, Bytes: 2 * n * 174},
	}
	for range 2 { // nothing runs: it reads the same
		if diff := gocmp.Diff(want, gate.Counted(t)); diff != "" {
			t.Errorf("counters (-want +got)\n%s", diff)
		}
	}
	// Some CPU alone has less, or the sum would prove nothing.
	values := make([]bpf.XdpallowCounter, ebpf.MustPossibleCPU())
	series := uint32(int(maps.Pass)*int(bpf.XdpallowReasonREASON_ROOM)+int(maps.Listed)) * uint32(bpf.XdpallowFamilyFAMILY_COUNT)
	if err := gate.Live.Lookup(series, &values); err != nil {
		t.Fatal(err)
	}
	for cpu, value := range values {
		if value.Packets > 1 {
			t.Errorf("CPU %d counted %d openings of %d", cpu, value.Packets, n)
		}
	}
}

func TestEverySeriesIsThereFromTheStart(t *testing.T) {
	live, err := counters.New()
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	series, counts, err := counters.Counters{Live: live}.Read()
	if err != nil {
		t.Fatal(err)
	}
	const pass, refuse = 5, 13
	if want := (pass + 2*refuse) * 3; len(series) != want || len(counts) != want {
		t.Errorf("%d series and %d counts, want %d", len(series), len(counts), want)
	}
	byWords := func(a, b counters.Series) int {
		return cmp.Or(cmp.Compare(a.Verdict, b.Verdict), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Family, b.Family))
	}
	for i := 1; i < len(series); i++ {
		if byWords(series[i-1], series[i]) >= 0 {
			t.Errorf("%v comes before %v", series[i-1], series[i])
		}
	}
	if slices.ContainsFunc(counts, func(c counters.Count) bool { return c != counters.Count{} }) {
		t.Errorf("a new map holds %v", counts)
	}
}

// A new schema goes on from what the others before it counted.
func TestEarlierCountersAddUp(t *testing.T) {
	tables := mapstest.Tables(t, oldPolicy())
	var earlier []*ebpf.Map
	for generation := range uint64(3) {
		gate := mapstest.Load(t, tables, false)
		gate.Earlier = earlier
		gate.Run(t, mapstest.Opening(addr("192.0.2.1"), port).Bytes())
		want := map[counters.Series]counters.Count{
			{Verdict: maps.Pass, Reason: maps.Listed, Family: maps.IPv4}: {Packets: generation + 1, Bytes: 54 * (generation + 1)},
		}
		if diff := gocmp.Diff(want, gate.Counted(t)); diff != "" {
			t.Errorf("schema %d (-want +got)\n%s", generation+1, diff)
		}
		earlier = append(earlier, gate.Live)
	}
}

func TestCountersNeverGoBackwards(t *testing.T) {
	gate := mapstest.Load(t, mapstest.Tables(t, oldPolicy()), false)
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, source := range []string{"192.0.2.1", "2001:db8:9::1"} {
		frame := mapstest.Opening(addr(source), port).Bytes()
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					gate.Program.Run(&ebpf.RunOptions{Data: frame})
				}
			}
		})
	}
	defer running.Wait()
	defer close(stop)
	before, moved := gate.Counted(t), 0
	for range 500 {
		after := gate.Counted(t)
		for series, count := range before {
			if now := after[series]; now.Packets < count.Packets || now.Bytes < count.Bytes {
				t.Fatalf("%v went from %v to %v", series, count, now)
			} else if now != count {
				moved++
			}
		}
		before = after
	}
	if moved == 0 {
		t.Error("nothing was counted meanwhile")
	}
}
