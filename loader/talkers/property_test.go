package talkers

// Promises guarded here: whatever is fed, the room is never passed, no count is
// over the truth, nothing of the totals is lost, and who weighs more than one
// part in Capacity of the window is always there.

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fed is what an unbounded memory knows of the same samples.
type fed struct {
	at     time.Duration
	source netip.Addr
	weight uint64
}

func TestHeavyAreAlwaysThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{Capacity: rapid.IntRange(1, 8).Draw(t, "capacity"), Window: 12 * time.Second}
		s := New(start, options)
		var all []fed
		now := time.Duration(0)
		for range rapid.IntRange(0, 300).Draw(t, "samples") {
			now += time.Duration(rapid.IntRange(0, 800).Draw(t, "ms")) * time.Millisecond
			f := fed{now, smallAddress(t), rapid.Uint64Range(1, 50).Draw(t, "weight")}
			all = append(all, f)
			s.Add(Sample{Time: start.Add(now), Source: f.source, Weight: f.weight, Reason: "not_listed"})
			checkRoom(t, s)
		}
		answer := s.Snapshot(start.Add(now), 1<<20)
		var total uint64
		addresses, prefixes := map[netip.Addr]uint64{}, map[netip.Prefix]uint64{}
		for _, f := range all {
			if start.Add(f.at).Before(answer.Since) {
				continue
			}
			total += f.weight
			if f.source.IsValid() {
				addresses[f.source] += f.weight
				prefixes[around(f.source)] += f.weight
			}
		}
		if answer.Packets != total {
			t.Fatalf("%d packets in the window, fed were %d", answer.Packets, total)
		}
		found := map[netip.Addr]Talker{}
		for _, a := range answer.Addresses {
			found[a.Address] = a.Talker
		}
		near := map[netip.Prefix]Talker{}
		for _, p := range answer.Prefixes {
			near[p.Prefix] = p.Talker
		}
		checkLevel(t, addresses, found, total/uint64(options.Capacity))
		checkLevel(t, prefixes, near, total/uint64(options.Capacity))
	})
}

func smallAddress(t *rapid.T) netip.Addr {
	n := byte(rapid.IntRange(0, 40).Draw(t, "source"))
	switch {
	case n == 0:
		return netip.Addr{}
	case n%5 == 0:
		return netip.AddrFrom16([16]byte{0: 0x20, 5: n / 10, 15: n})
	}
	return netip.AddrFrom4([4]byte{10, 0, n / 3, n})
}

func checkRoom(t *rapid.T, s *Sketch) {
	if len(s.subwindows)+len(s.free) > subwindowsPerWindow+2 {
		t.Fatalf("%d subwindows and %d free ones", len(s.subwindows), len(s.free))
	}
	for _, p := range s.subwindows {
		for _, l := range []*lossyCounts{&p.addresses, &p.prefixes} {
			if len(l.counters) > 2*s.options.Capacity {
				t.Fatalf("%d counters, capacity is %d", len(l.counters), s.options.Capacity)
			}
			if l.floor*uint64(s.options.Capacity) > p.packets {
				t.Fatalf("floor %d of %d packets, capacity is %d", l.floor, p.packets, s.options.Capacity)
			}
		}
	}
}

func checkLevel[K comparable](t *rapid.T, truth map[K]uint64, found map[K]Talker, heavy uint64) {
	for key, weight := range truth {
		if _, ok := found[key]; !ok && weight > heavy {
			t.Fatalf("%v sent %d, over %d, and is not there", key, weight, heavy)
		}
	}
	for key, talker := range found {
		if talker.Packets > truth[key] || talker.Packets == 0 {
			t.Fatalf("%v is counted %d, it sent %d", key, talker.Packets, truth[key])
		}
	}
}

// What a slice says of a key is exact or a bound, however often the key went and
// came back.
func TestTallyBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLossyCounts(2 * rapid.IntRange(1, 4).Draw(t, "capacity"))
		truth := map[netip.Prefix]uint64{}
		for range rapid.IntRange(0, 200).Draw(t, "samples") {
			key := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 20).Draw(t, "key"))}), 32)
			weight := rapid.Uint64Range(1, 9).Draw(t, "weight")
			truth[key] += weight
			l.add(key, Sample{Weight: weight}, 0)
			for key, sent := range truth {
				c, held := l.counters[key]
				if !held && sent > l.floor {
					t.Fatalf("%v sent %d, over the floor of %d, and is not held", key, sent, l.floor)
				}
				if held && (c.packets > sent || sent > c.packets+c.missed) {
					t.Fatalf("%v sent %d, counted from %d to %d", key, sent, c.packets, c.packets+c.missed)
				}
			}
		}
	})
}

// Totals by owner never fall and lose nothing; the sources stay within their room.
func TestNearMissesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{Misses: rapid.IntRange(1, 20).Draw(t, "room"), OwnerMisses: rapid.IntRange(1, 6).Draw(t, "owner room")}
		s := New(start, options)
		sent := map[string]uint64{}
		tried := map[[2]string]uint64{}
		for i := range rapid.IntRange(0, 200).Draw(t, "samples") {
			owner := rapid.SampledFrom([]string{"", "acme", "beta", "gamma", "delta"}).Draw(t, "owner")
			source := netip.AddrFrom4([4]byte{203, 0, 113, byte(rapid.IntRange(0, 30).Draw(t, "source"))})
			weight := rapid.Uint64Range(1, 9).Draw(t, "weight")
			sent[owner] += weight
			tried[[2]string{owner, source.String()}] += weight
			s.Add(Sample{
				Time: start.Add(time.Duration(i) * time.Hour / 4), Source: source, Weight: weight,
				Near: &Near{Prefix: netip.MustParsePrefix("203.0.113.64/29"), Owner: owner},
			})
			list := s.Snapshot(start, 1).NearMisses
			owners := map[string]int{}
			for _, m := range list {
				owners[m.Owner]++
				if owners[m.Owner] > options.OwnerMisses || m.Tries > tried[[2]string{m.Owner, m.Source.String()}] {
					t.Fatalf("%v of %v", m, list)
				}
			}
			if len(list) > options.Misses || len(list) != s.misses.held || len(list) == 0 {
				t.Fatalf("%d near misses, held %d, room %d", len(list), s.misses.held, options.Misses)
			}
			for owner, total := range s.NearMisses() {
				if total != sent[owner] {
					t.Fatalf("%q: %d in total, sent %d", owner, total, sent[owner])
				}
			}
		}
	})
}

// FuzzSketch: no order of times, sources and weights breaks the bounds.
func FuzzSketch(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 0, 0, 255, 9, 9, 9, 9, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(start, Options{Capacity: 2, Misses: 3, OwnerMisses: 2})
		for ; len(data) >= 4; data = data[4:] {
			source := netip.AddrFrom4([4]byte{10, data[0] >> 4, data[0], data[1]})
			sample := Sample{Time: start.Add(time.Duration(int8(data[2])) * time.Minute / 10), Source: source, Weight: uint64(data[3])}
			if data[3]&1 == 1 {
				sample.Near = &Near{Prefix: netip.PrefixFrom(source, 30).Masked(), Owner: string(data[1]&7 + 'a')}
			}
			s.Add(sample)
		}
		answer := s.Snapshot(start, 3)
		if len(answer.Addresses) > 3 || len(answer.Prefixes) > 3 || len(answer.NearMisses) > 3 {
			t.Errorf("more rows than asked for: %+v", answer)
		}
		for _, p := range answer.Prefixes {
			if p.Share < 0 || p.Share > 1 || p.PacketsPerSecond < 0 || p.Packets > answer.Packets {
				t.Errorf("%+v of %d packets", p, answer.Packets)
			}
		}
	})
}
