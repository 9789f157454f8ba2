// Limits: an owner gets his burst at once and his rate in the long run, exactly, however
// many CPUs his openings come on; asking does not use it up.
package maps_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// limitedPolicy has owner 1 in both families, and owner 2.
func limitedPolicy(generation uint64) maps.Policy {
	policy := policyOf(generation)
	policy.Entries = []maps.Entry{owned("192.0.2.0/24", 1), owned("2001:db8:1::/48", 1), owned("203.0.113.0/24", 2)}
	return policy
}

func passes(t *testing.T, gate mapstest.Program, source string) bool {
	t.Helper()
	const pass = 2
	return gate.Run(t, mapstest.Opening(addr(source), port).Bytes()) == pass
}

// bucket is what an owner has in the kernel, and what he was charged with.
func bucket(t *testing.T, tables *maps.Tables, number uint32) (any, maps.Openings) {
	t.Helper()
	var owner bpf.XdpallowOwner
	if err := tables.Replacements()[bpf.XdpallowMapOwners].Lookup(number, &owner); err != nil {
		t.Fatal(err)
	}
	openings, err := tables.Openings(uint16(number))
	if err != nil {
		t.Fatal(err)
	}
	return owner, openings
}

// The burst is the owner's: over families, generations and daemons; an order that changes
// nothing does not refill it, and another rate does.
func TestBurst(t *testing.T) {
	tables, pins := open(t, limitedPolicy(1))
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	const burst = 10
	setOwner(t, tables, 1, maps.Owner{Limit: perHour(burst)})
	for i := range burst {
		source := []string{"192.0.2.1", "2001:db8:1::1", "192.0.2.77"}[i%3]
		if got := ask(t, shadow, source); got != maps.Listed {
			t.Errorf("before opening %d: %v", i+1, got)
		}
		if !passes(t, gate, source) {
			t.Errorf("opening %d of %d was refused", i+1, burst)
		}
		switch i {
		case 3:
			setOwner(t, tables, 1, maps.Owner{Limit: perHour(burst)})
			mapstest.Publish(t, tables, limitedPolicy(2))
		case 5:
			tables = reopen(t, pins)
			setOwner(t, tables, 1, maps.Owner{Limit: perHour(burst)})
		case 6: // nothing is left of the burst but the suspension's end
			setOwner(t, tables, 1, maps.Owner{Suspended: true, Limit: perHour(burst)})
			if passes(t, gate, source) {
				t.Error("suspended, and passes")
			}
			setOwner(t, tables, 1, maps.Owner{Limit: perHour(burst)})
		}
	}
	limited := func(what string) {
		t.Helper()
		for _, source := range []string{"192.0.2.1", "2001:db8:1::1"} {
			if got := ask(t, shadow, source); got != maps.RateLimited || passes(t, gate, source) {
				t.Errorf("%s: %v, or passes", what, got)
			}
		}
	}
	limited("after the burst")
	setOwner(t, tables, 1, maps.Owner{Limit: perHour(burst)})
	limited("after the same order again")
	mapstest.Publish(t, tables, limitedPolicy(tables.Generation()+1))
	limited("after a publish")
	if !passes(t, gate, "203.0.113.1") {
		t.Error("another owner is refused")
	}
	udp := mapstest.Opening(addr("192.0.2.1"), port)
	udp.UDP = true
	if got := maps.AnswerOf(shadow.Run(t, udp.Bytes())); got.Reason != maps.Listed {
		t.Errorf("a datagram: %v", got.Reason)
	}
	setOwner(t, tables, 1, maps.Owner{Limit: perHour(burst + 2)})
	for range 2 {
		if !passes(t, gate, "192.0.2.1") {
			t.Error("two more in the burst, and refused")
		}
	}
	limited("after the greater burst")
	setOwner(t, tables, 1, maps.Owner{Limit: maps.Limit{PerSecond: 2.0 / 3600, Burst: 1}})
	if !passes(t, gate, "192.0.2.1") {
		t.Error("another rate, and what was due by the old one still counts")
	}
	limited("after the burst of another rate")
	setOwner(t, tables, 1, maps.Owner{})
	for range 50 {
		if !passes(t, gate, "192.0.2.1") {
			t.Fatal("no limit, and refused")
		}
	}
}

// No rate is so odd that it turns into another.
func TestOddLimits(t *testing.T) {
	tables := mapstest.Tables(t, limitedPolicy(1))
	gate := mapstest.Load(t, tables, false)
	for name, c := range map[string]struct {
		limit maps.Limit
		want  int // of 100
	}{
		"none":                         {maps.Limit{}, 100},
		"none, whatever the burst":     {maps.Limit{Burst: 3}, 100},
		"not a number":                 {maps.Limit{PerSecond: math.NaN(), Burst: 3}, 100},
		"no burst is a burst of one":   {maps.Limit{PerSecond: 1.0 / 3600}, 1},
		"hardly ever":                  {maps.Limit{PerSecond: 1e-30, Burst: 7}, 7},
		"hardly ever, without end":     {maps.Limit{PerSecond: 1e-30, Burst: math.MaxUint32}, 100},
		"seldom, a great burst":        {maps.Limit{PerSecond: 0.1, Burst: math.MaxUint32}, 100},
		"more than there is time":      {maps.Limit{PerSecond: 1e30, Burst: 200}, 100},
		"more than any number of them": {maps.Limit{PerSecond: math.Inf(1), Burst: 200}, 100},
	} {
		if err := tables.ForgetOwner(1); err != nil {
			t.Fatal(err)
		}
		setOwner(t, tables, 1, maps.Owner{Limit: c.limit})
		passed := 0
		for range 100 {
			if passes(t, gate, "192.0.2.1") {
				passed++
			}
		}
		if passed != c.want {
			t.Errorf("%s: %d of 100 passed, want %d", name, passed, c.want)
		}
	}
}

// The next one after a burst passes when its time has come, and not before.
func TestOneMoreAfterAnInterval(t *testing.T) {
	tables := mapstest.Tables(t, limitedPolicy(1))
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	const interval = uint64(400 * time.Millisecond)
	setOwner(t, tables, 1, maps.Owner{Limit: maps.Limit{PerSecond: 2.5, Burst: 3}})
	earliest := boottime(t) + interval
	for i := range 3 {
		if !passes(t, gate, "192.0.2.1") {
			t.Fatalf("opening %d of the burst was refused", i+1)
		}
	}
	latest := boottime(t) + interval
	early := 0
	for {
		start := boottime(t)
		limited := ask(t, shadow, "192.0.2.1") == maps.RateLimited
		passed := passes(t, gate, "192.0.2.1")
		if end := boottime(t); end < earliest {
			if early++; passed || !limited {
				t.Fatalf("passed %v before its time", time.Duration(earliest-end))
			}
		} else if passed {
			break
		} else if start > latest {
			t.Fatalf("refused %v after its time", time.Duration(start-latest))
		}
		time.Sleep(time.Millisecond)
	}
	if early == 0 {
		t.Error("never asked before its time")
	}
	if now := boottime(t); passes(t, gate, "192.0.2.1") && now < earliest+interval {
		t.Error("two passed after one interval")
	}
}

func TestTwinUsesNothingUp(t *testing.T) {
	tables := mapstest.Tables(t, limitedPolicy(1))
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	setOwner(t, tables, 1, maps.Owner{Limit: perHour(2)})
	setOwner(t, tables, 2, maps.Owner{Suspended: true})
	unchanged := func(want maps.Reason) {
		t.Helper()
		for _, owner := range []uint32{1, 2} {
			ownerBefore, openingsBefore := bucket(t, tables, owner)
			for range 20 {
				if got := ask(t, shadow, "192.0.2.1"); got != want {
					t.Fatalf("the shadow program says %v, want %v", got, want)
				}
				ask(t, shadow, "203.0.113.1")
			}
			ownerAfter, openingsAfter := bucket(t, tables, owner)
			if diff := cmp.Diff(ownerBefore, ownerAfter) + cmp.Diff(openingsBefore, openingsAfter); diff != "" {
				t.Errorf("the shadow program changed owner %d\n%s", owner, diff)
			}
		}
	}
	unchanged(maps.Listed)
	passes(t, gate, "192.0.2.1")
	unchanged(maps.Listed)
	passes(t, gate, "192.0.2.1")
	unchanged(maps.RateLimited)
	if _, openings := bucket(t, tables, 1); openings.Passed != 2 {
		t.Errorf("%d passed", openings.Passed)
	}
}

// From more threads than CPUs, as fast as they can: never more than the burst and the
// rate, hardly less while somebody asked, and each charged once.
func TestLimitHoldsOnManyCPUs(t *testing.T) {
	const rate, burst, threads = 500, 100, 6
	tables := mapstest.Tables(t, limitedPolicy(1))
	gate := mapstest.Load(t, tables, false)
	frame := mapstest.Opening(addr("192.0.2.1"), port).Bytes()
	setOwner(t, tables, 1, maps.Owner{Limit: maps.Limit{PerSecond: rate, Burst: burst}})
	start := boottime(t)
	stop := make(chan struct{})
	var running sync.WaitGroup
	var asked [threads]struct{ first, last uint64 }
	for i := range threads {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked[i].last = boottime(t)
				if _, err := gate.Program.Run(&ebpf.RunOptions{Data: frame}); err != nil {
					t.Errorf("run program: %v", err)
					return
				}
				if asked[i].first == 0 {
					asked[i].first = boottime(t)
				}
			}
		})
	}
	time.Sleep(1500 * time.Millisecond)
	close(stop)
	running.Wait()
	end, first, last := boottime(t), uint64(math.MaxUint64), uint64(0)
	for _, a := range asked {
		if a.first != 0 {
			first, last = min(first, a.first), max(last, a.last)
		}
	}
	_, openings := bucket(t, tables, 1)
	counted := gate.Counted(t)
	passed := counted[counters.Series{Verdict: maps.Pass, Reason: maps.Listed}].Packets
	dropped := counted[counters.Series{Verdict: maps.Drop, Reason: maps.RateLimited}].Packets
	// A slow machine asks for the first time some time after start, and for the last time
	// before end: what was due then is nobody's.
	most, least := burst+rate*float64(end-start)/1e9, burst+rate*float64(last-first)/1e9
	t.Logf("%d of %d passed, the limit is %.1f to %.1f", passed, passed+dropped, least, most)
	if float64(passed) > most+1 || float64(passed) < 0.97*least {
		t.Errorf("%d passed, the limit is %.1f to %.1f", passed, least, most)
	}
	if openings.Passed != passed || openings.Dropped[maps.RateLimited] != dropped {
		t.Errorf("%d passed and %d dropped, and owner is charged with %+v", passed, dropped, openings)
	}
	if dropped < 3*passed {
		t.Errorf("%d dropped beside %d that passed: no load", dropped, passed)
	}
	wantHits(t, "openings", liveEntries(t, tables), map[string]uint32{"192.0.2.0/24": uint32(passed)})
}
