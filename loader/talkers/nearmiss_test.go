package talkers

// Promises guarded here: a customer who moved is found however many others try
// beside the same owner, and is forgotten a day after the last try.

import (
	"net/netip"
	"testing"
	"time"
)

func tries(s *Sketch, source netip.Addr) uint64 {
	for _, m := range s.Snapshot(start, 1).NearMisses {
		if m.Source == source {
			return m.Tries
		}
	}
	return 0
}

// The room is full of others who tried before, and for every try of the customer
// there is one of a source that never comes back.
func TestCustomerIsFoundAmongNoise(t *testing.T) {
	s := New(start, Options{OwnerMisses: 4})
	near := &Near{Prefix: netip.MustParsePrefix("203.0.113.64/29"), Owner: "acme"}
	try := func(last byte) netip.Addr {
		source := netip.AddrFrom4([4]byte{203, 0, 113, last})
		s.Add(Sample{Time: start, Source: source, Near: near})
		return source
	}
	for i := range byte(12) {
		try(i % 4)
	}
	customer := netip.Addr{}
	for i := range byte(50) {
		customer = try(77)
		try(100 + i)
	}
	if n := tries(s, customer); n < 40 || n > 50 {
		t.Errorf("the customer tried 50 times, %d are known", n)
	}
	if total := s.NearMisses()["acme"]; total != 112 {
		t.Errorf("%d in total, 112 were sent", total)
	}
}

func TestNearMissIsForgotten(t *testing.T) {
	s := New(start, Options{})
	source := netip.MustParseAddr("203.0.113.77")
	s.Add(Sample{Time: start, Source: source, Near: &Near{Prefix: netip.MustParsePrefix("203.0.113.64/29"), Owner: "acme"}})
	for _, c := range []struct {
		hours time.Duration
		want  uint64
	}{{23, 1}, {25, 0}} {
		s.Snapshot(start.Add(c.hours*time.Hour), 1)
		if got := tries(s, source); got != c.want {
			t.Errorf("after %d hours: %d tries, want %d", c.hours, got, c.want)
		}
	}
	if s.NearMisses()["acme"] != 1 || s.misses.held != 0 {
		t.Error("what is forgotten of the source is not forgotten in the total")
	}
}
