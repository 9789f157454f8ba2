package talkers

// Promises guarded here: the JSON of `top -o json` has the fields it promises,
// lists and not nulls, in one order; and distances read as the issue says them.

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSnapshotJSON(t *testing.T) {
	s := New(start, Options{})
	empty, _ := json.Marshal(s.Snapshot(start, 10))
	const nothing = `{"since":"2026-11-22T03:00:00Z","window_seconds":0,"samples":0,"packets":0,"lost":0,"addresses":[],"prefixes":[],"near_misses":[]}`
	if diff := cmp.Diff(nothing, string(empty)); diff != "" {
		t.Error(diff)
	}
	seen := at(-3600)
	near := &Near{Prefix: netip.MustParsePrefix("203.0.113.64/29"), Owner: "acme", LastSeen: &seen}
	for range 12 {
		s.Add(Sample{Time: at(2), Source: netip.MustParseAddr("203.0.113.77"), Weight: 1, Bytes: 60, Reason: "not_listed", Near: near})
	}
	s.Add(Sample{Time: at(3), Source: netip.MustParseAddr("2001:db8::1%eth0"), Weight: 4, Bytes: 100, Reason: "expired"})
	s.Add(Sample{Time: at(3), Weight: 4, Reason: "malformed"})
	s.Lose(at(3), 5)
	got, err := json.MarshalIndent(s.Snapshot(at(10), 10), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "since": "2026-11-22T03:00:00Z",
 "window_seconds": 10,
 "samples": 14,
 "packets": 20,
 "lost": 5,
 "addresses": [
  {
   "address": "203.0.113.77",
   "packets_per_second": 1.2,
   "bytes_per_second": 72,
   "share": 0.6,
   "packets": 12,
   "samples": 12,
   "reason": "not_listed",
   "last": "2026-11-22T03:00:02Z"
  },
  {
   "address": "2001:db8::1",
   "packets_per_second": 0.4,
   "bytes_per_second": 40,
   "share": 0.2,
   "packets": 4,
   "samples": 1,
   "reason": "expired",
   "last": "2026-11-22T03:00:03Z"
  }
 ],
 "prefixes": [
  {
   "prefix": "203.0.113.0/24",
   "packets_per_second": 1.2,
   "bytes_per_second": 72,
   "share": 0.6,
   "packets": 12,
   "samples": 12,
   "reason": "not_listed",
   "last": "2026-11-22T03:00:02Z"
  },
  {
   "prefix": "2001:db8::/48",
   "packets_per_second": 0.4,
   "bytes_per_second": 40,
   "share": 0.2,
   "packets": 4,
   "samples": 1,
   "reason": "expired",
   "last": "2026-11-22T03:00:03Z"
  }
 ],
 "near_misses": [
  {
   "source": "203.0.113.77",
   "owner": "acme",
   "prefix": "203.0.113.64/29",
   "tries": 12,
   "distance": 13,
   "first": "2026-11-22T03:00:02Z",
   "last": "2026-11-22T03:00:02Z",
   "prefix_last_seen": "2026-11-22T02:00:00Z",
   "within": "203.0.113.64/28"
  }
 ]
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestNearMissInWords(t *testing.T) {
	for _, c := range []struct{ source, prefix, owner, want string }{
		{"203.0.113.77", "203.0.113.64/29", "acme", "203.0.113.77 tried 1 time, in the same /28 as acme's 203.0.113.64/29"},
		{"203.0.113.60", "203.0.113.64/29", "acme", "203.0.113.60 tried 1 time, in the same /25 as acme's 203.0.113.64/29"},
		{"203.0.113.65", "203.0.113.64/32", "", "203.0.113.65 tried 1 time, in the same /31 as 203.0.113.64/32"},
		{"2001:db8::9", "2001:db8:0:1::/64", "acme", "2001:db8::9 tried 1 time, in the same /63 as acme's 2001:db8:0:1::/64"},
	} {
		s := New(start, Options{})
		s.Add(Sample{Time: start, Source: netip.MustParseAddr(c.source), Near: &Near{Prefix: netip.MustParsePrefix(c.prefix), Owner: c.owner}})
		if got := s.Snapshot(start, 1).NearMisses[0].String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if d, ok := Distance(netip.MustParseAddr("255.255.255.255"), netip.MustParsePrefix("0.0.0.0/8")); !ok || d != 1<<32-1 {
		t.Errorf("the widest distance is %d", d)
	}
}

// A talker's reason is that of most of its packets, in every slice of the window.
func TestReasonOfMost(t *testing.T) {
	s := New(start, Options{})
	source := netip.MustParseAddr("198.51.100.1")
	for i := range 30 {
		s.Add(Sample{Time: at(float64(i)), Source: source, Weight: 2, Reason: "not_listed"})
		s.Add(Sample{Time: at(float64(i)), Source: source, Weight: 3, Reason: "suspended"})
	}
	if got := s.Snapshot(at(30), 1).Addresses[0].Reason; got != "suspended" {
		t.Errorf("reason %q", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	s := New(start, Options{})
	sources := make([]netip.Addr, 1<<16)
	for i := range sources {
		sources[i] = netip.AddrFrom4([4]byte{byte(i * 7 >> 8), byte(i * 13), byte(i), byte(i >> 8)})
	}
	i := 0
	for b.Loop() {
		s.Add(Sample{Time: at(float64(i) / 1000), Source: sources[i%len(sources)], Weight: 1000, Reason: "not_listed"})
		i++
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s := New(start, Options{})
	for i := range 70_000 {
		n := uint32(i) * 2654435761
		s.Add(Sample{Time: at(float64(i) / 1000), Source: netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), Weight: 1000})
	}
	for b.Loop() {
		s.Snapshot(at(70), 100)
	}
}
