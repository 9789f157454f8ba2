package events

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/talkers"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/ring"
)

// flood is a kernel under a flood: so many refused packets a second, of which it samples
// what it is told, into a ring that holds 4,681.
type flood struct {
	rate, near  float64 // packets a second
	due, nearly float64
	one, nearby uint32
	ring        []ring.Event
	lost        uint64
	refused     uint64
}

func (f *flood) pass(d time.Duration) {
	f.refused += uint64((f.rate + f.near) * d.Seconds())
	f.due += f.rate * d.Seconds() / float64(f.one)
	f.nearly += f.near * d.Seconds() / float64(f.nearby)
	f.fill(&f.due, f.one, false)
	f.fill(&f.nearly, f.nearby, true)
}

func (f *flood) fill(due *float64, weight uint32, near bool) {
	for ; *due >= 1; *due-- {
		if len(f.ring) == 4681 {
			f.lost++
			continue
		}
		f.ring = append(f.ring, ring.Event{Weight: weight, Near: near, Verdict: maps.Drop, Reason: maps.NotListed, Source: netip.MustParseAddr("192.0.2.77")})
	}
}

func (f *flood) Drain(fn func(ring.Event)) error {
	for _, e := range f.ring {
		fn(e)
	}
	f.ring = nil
	return nil
}
func (f *flood) Lost() (uint64, error)    { return f.lost, nil }
func (f *flood) Refused() (uint64, error) { return f.refused, nil }
func (f *flood) SetSampling(one, near uint32) error {
	f.one, f.nearby = one, near
	return nil
}

func (f *flood) Classify(suspects []Event) []*talkers.Near {
	misses := make([]*talkers.Near, len(suspects))
	for i := range misses {
		misses[i] = &talkers.Near{Prefix: netip.MustParsePrefix("192.0.2.64/29"), Owner: "acme"}
	}
	return misses
}

// Promise: whatever the flood, no second has more than 1,000 events; they stand for
// all packets; a flood hides no near miss, be it of near misses or not; and when it ends
// every packet is seen again within two seconds.
func TestBudget(t *testing.T) {
	for _, c := range []struct{ rate, near float64 }{
		{500, 0}, {10_000, 3}, {1_000_000, 10}, {30_000_000, 0}, {0, 1_000_000}, {1_000_000, 1_000_000},
	} {
		now := time.Now()
		kernel, log := &flood{one: 1, nearby: 1}, new(Log)
		reader, err := NewReader(kernel, talkers.New(now, talkers.Options{}), log, now)
		if err != nil {
			t.Fatal(err)
		}
		var times []time.Time
		var near int
		var weight uint64
		read := func() {
			kernel.pass(every)
			now = now.Add(every)
			log.ring = nil
			if err := reader.Read(now); err != nil {
				t.Fatal(err)
			}
			for _, e := range log.ring {
				times = append(times, now)
				weight += e.Weight
				if e.Near != nil {
					near++
				}
			}
		}
		kernel.rate, kernel.near = c.rate, c.near
		for range 100 {
			read()
		}
		for i := range times {
			if j := i + Budget; j < len(times) && times[j].Sub(times[i]) < time.Second {
				t.Fatalf("%+v: over %d events in one second", c, Budget)
			}
		}
		// Of the first of ten seconds most may be lost: its budget is gone at once.
		if all := kernel.refused; float64(weight) < 0.85*float64(all) || float64(weight) > 1.1*float64(all) {
			t.Errorf("%+v: %d events stand for %d packets of %d", c, len(times), weight, all)
		}
		if c.near > 0 && c.near < NearBudget && near < int(10*c.near)-1 || c.near > NearBudget && near < 8*NearBudget {
			t.Errorf("%+v: %d near misses", c, near)
		}
		kernel.rate, kernel.near = 0, 0
		for range 20 {
			read()
		}
		if kernel.one != 1 || kernel.nearby != 1 {
			t.Errorf("%+v: after the flood one of %d is sampled, and of %d", c, kernel.one, kernel.nearby)
		}
	}
}

// Promise: the log holds the last events, in order; who follows gets each once, and is
// told how many he lost when he was too slow.
func TestLog(t *testing.T) {
	log := new(Log)
	numbered := func(from, n int) (events []Event) {
		for i := range n {
			events = append(events, Event{Weight: uint64(from + i)})
		}
		return events
	}
	log.add(numbered(0, 3))
	if last := log.Last(2); len(last) != 2 || last[0].Weight != 1 || last[1].Weight != 2 {
		t.Errorf("the last two are %v", last)
	}
	log.add(numbered(3, ringSize))
	if last := log.Last(ringSize + 9); len(last) != ringSize || last[0].Weight != 3 || !slices.IsSortedFunc(last, func(a, b Event) int { return int(a.Weight) - int(b.Weight) }) {
		t.Errorf("%d kept, from %d", len(last), last[0].Weight)
	}
	enough := errors.New("enough")
	var got []Event
	begun := make(chan struct{})
	go func() {
		<-begun
		log.lose(4)
		log.add(numbered(10_000, backlog+7)) // more than a follower may be behind
		log.add(numbered(20_000, 1))
	}()
	err := log.Follow(context.Background(), 1, func(e Event) error {
		if len(got) == 0 {
			close(begun)
			time.Sleep(300 * time.Millisecond) // too slow
		}
		if got = append(got, e); len(got) == 1+backlog {
			log.add(numbered(30_000, 1))
		}
		if e.Weight == 30_000 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || got[0].Weight != 2+ringSize || got[1].Weight != 10_000 || got[1].Lost != 4 {
		t.Fatalf("%v: %v", err, got[:2])
	}
	if end := got[len(got)-1]; end.Lost != 8 {
		t.Errorf("%d events lost by a slow follower, 8 were", end.Lost)
	}
}

// Promise: what the kernel sampled while nobody read it is shown when somebody does, with
// its own time; and it does not count as the rate of what comes.
func TestWhatTheRingHeld(t *testing.T) {
	now := time.Now()
	kernel, log := &flood{one: 1, nearby: 1}, new(Log)
	kernel.near = 2000
	kernel.pass(time.Second) // near misses, before anybody reads
	reader, err := NewReader(kernel, talkers.New(now, talkers.Options{}), log, now)
	if err != nil {
		t.Fatal(err)
	}
	kernel.near = 0
	if err := reader.Read(now.Add(every)); err != nil {
		t.Fatal(err)
	}
	weight := uint64(0)
	for _, e := range log.Last(ringSize) {
		weight += e.Weight
		if e.Time.After(now.Add(-time.Minute)) { // those of the ring are of the boot
			t.Errorf("an event of before is of %v", e.Time)
		}
	}
	if weight != 2000 || kernel.nearby != 1 {
		t.Errorf("the events stand for %d packets, of 2000; one of %d is sampled", weight, kernel.nearby)
	}
}
