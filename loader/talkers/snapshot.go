package talkers

// This file turns counts into the answer of top: which sources, how much, and why.

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Snapshot is the answer as `top -o json` prints it. Since, WindowSeconds,
// Samples, Packets and Lost are about the window that the rates are taken over.
type Snapshot struct {
	Since         time.Time  `json:"since"`
	WindowSeconds float64    `json:"window_seconds"`
	Samples       uint64     `json:"samples"`
	Packets       uint64     `json:"packets"` // that the samples stand for
	Lost          uint64     `json:"lost"`    // samples that never arrived
	Addresses     []Address  `json:"addresses"`
	Prefixes      []Prefix   `json:"prefixes"`
	NearMisses    []NearMiss `json:"near_misses"`
}

// Address is one source.
type Address struct {
	Address netip.Addr `json:"address"`
	Talker
}

// Prefix is a /24 of IPv4 or a /48 of IPv6.
type Prefix struct {
	Prefix netip.Prefix `json:"prefix"`
	Talker
}

// Talker is what one source or prefix sent.
type Talker struct {
	PacketsPerSecond float64   `json:"packets_per_second"`
	BytesPerSecond   float64   `json:"bytes_per_second"`
	Share            float64   `json:"share"`   // of all packets of the window, 0 to 1
	Packets          uint64    `json:"packets"` // in the window, at least
	Samples          uint64    `json:"samples"` // behind these numbers: few of them prove little
	Reason           string    `json:"reason"`  // of most of them
	Last             time.Time `json:"last"`
}

const (
	// enoughSamples is how many samples prove when a source began. With fewer the rate
	// is taken over the whole window: one packet of a random source, divided by the short
	// time since it came, would show as thousands a second.
	enoughSamples = 16
	// A source begins in the first subwindow with at least one part in faint of its
	// busiest one: a stray packet half a minute before a flood does not lower its rate.
	faint = 10
	// shortest is the least time that a rate is taken over.
	shortest = time.Second
)

// Snapshot returns the heaviest addresses and prefixes, at most rows of each, sorted by
// falling rate, and all near misses, the last one first. The caller owns the answer.
func (s *Sketch) Snapshot(now time.Time, rows int) Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now)
	rows = max(rows, 1)
	answer := Snapshot{
		Since:         s.start.Add(s.from()).UTC(),
		WindowSeconds: (s.now - s.from()).Seconds(),
		Addresses:     []Address{}, Prefixes: []Prefix{},
		NearMisses: s.misses.list(),
	}
	for _, p := range s.subwindows {
		answer.Samples += p.samples
		answer.Packets += p.packets
		answer.Lost += p.lost
	}
	for _, t := range s.heaviest(func(p *subwindow) *lossyCounts { return &p.addresses }, answer.Packets, rows) {
		answer.Addresses = append(answer.Addresses, Address{t.key.Addr(), t.Talker})
	}
	for _, t := range s.heaviest(func(p *subwindow) *lossyCounts { return &p.prefixes }, answer.Packets, rows) {
		answer.Prefixes = append(answer.Prefixes, Prefix{t.key, t.Talker})
	}
	return answer
}

type ranked struct {
	key netip.Prefix
	Talker
}

// heaviest ranks the keys of one level. It keeps at most 2*rows of them and reuses s.sums,
// so that asking every second needs no more memory than asking once.
func (s *Sketch) heaviest(level func(*subwindow) *lossyCounts, all uint64, rows int) []ranked {
	clear(s.sums)
	for _, p := range s.subwindows {
		for key, c := range level(p).counters {
			s.sums[key] += c.packets
		}
	}
	var best []ranked
	var last *ranked // of those that a cut left: a candidate behind it is not among the best
	for key, packets := range s.sums {
		candidate := ranked{key, Talker{Packets: packets}}
		if last != nil && byWeight(candidate, *last) > 0 {
			continue
		}
		if best = append(best, candidate); len(best) >= 2*rows {
			best = cut(best, rows)
			last = &best[rows-1]
		}
	}
	best = cut(best, rows)
	for i := range best {
		best[i].Talker = s.talker(level, best[i].key)
		best[i].Share = float64(best[i].Packets) / float64(max(all, 1))
	}
	slices.SortFunc(best, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.PacketsPerSecond, a.PacketsPerSecond), a.key.Compare(b.key))
	})
	return best
}

// cut returns the heaviest rows of best.
func cut(best []ranked, rows int) []ranked {
	slices.SortFunc(best, byWeight)
	return best[:min(len(best), rows)]
}

func byWeight(a, b ranked) int {
	return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.key.Compare(b.key))
}

// talker returns what key sent, without its share. The rate counts from when key began
// within the window: two seconds into a flood the rate is that of the flood, and not a
// thirtieth of it.
func (s *Sketch) talker(level func(*subwindow) *lossyCounts, key netip.Prefix) Talker {
	var whole, since counter // since it began
	var busiest uint64
	for _, p := range s.subwindows {
		busiest = max(busiest, level(p).counters[key].packets)
	}
	for _, p := range s.subwindows {
		c, held := level(p).counters[key]
		if !held {
			continue
		}
		whole.join(c)
		if since.samples > 0 || c.packets >= busiest/faint {
			since.join(c)
		}
	}
	length := s.now - since.first
	if since.samples < enoughSamples {
		since, length = whole, s.now-s.from()
	}
	seconds := max(length, shortest).Seconds()
	return Talker{
		PacketsPerSecond: float64(since.packets) / seconds,
		BytesPerSecond:   float64(since.bytes) / seconds,
		Packets:          whole.packets,
		Samples:          whole.samples,
		Reason:           whole.reason.reason,
		Last:             s.start.Add(whole.last).UTC(),
	}
}

// join adds the later counter of the same key.
func (c *counter) join(later counter) {
	if c.samples == 0 {
		c.first = later.first
	}
	c.packets += later.packets
	c.bytes += later.bytes
	c.samples += later.samples
	c.last = later.last
	c.reason.vote(later.reason.reason, later.reason.lead)
}
