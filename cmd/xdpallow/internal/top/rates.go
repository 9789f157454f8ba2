package top

// This file makes rates of totals.

import (
	"math"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// slots is how many intervals a history holds.
const slots = 60

// unknown is a rate that nobody measured.
var unknown = math.NaN()

// history is a rate over time, the latest last.
type history struct {
	rates [slots]float64
	count int // slots that ever were: cells that stand for several keep their borders by it
}

func newHistory() (h history) {
	for i := range h.rates {
		h.rates[i] = unknown
	}
	return h
}

// push adds rate, after skipped slots that nobody measured.
func (h history) push(rate float64, skipped int) history {
	for range min(skipped, slots) {
		copy(h.rates[:], h.rates[1:])
		h.rates[slots-1] = unknown
	}
	copy(h.rates[:], h.rates[1:])
	h.rates[slots-1] = rate
	h.count += skipped + 1
	return h
}

// meter is one total and how fast it grows.
type meter struct {
	total   uint64
	rate    float64 // a second
	history history
}

// step is the time from one frame to the next.
type step struct {
	seconds float64 // 0 before the second frame
	skipped int     // slots between them
}

func (m meter) next(total, growth uint64, s step) meter {
	if m.history.count == 0 {
		m.history = newHistory()
	}
	m.total, m.rate = total, unknown
	if s.seconds > 0 {
		m.rate = float64(growth) / s.seconds
	}
	m.history = m.history.push(m.rate, s.skipped)
	return m
}

// kind is one row of rates. reason "" is all reasons of the verdict.
type kind struct{ layer, verdict, reason string }

type traffic struct{ packets, bytes meter }

type openings struct{ passed, dropped meter }

// reading is a frame and the rates up to it.
type reading struct {
	frame    api.Live
	counters map[api.Counter]api.Counter // by what they count: packets and bytes are 0 in the key
	owners   map[string]openings
	traffic  map[kind]traffic
}

// next returns the reading of frame, which came after r; r may be nil.
func (r *reading) next(frame api.Live, interval time.Duration) *reading {
	after := &reading{
		frame:    frame,
		counters: make(map[api.Counter]api.Counter, len(frame.Counters)),
		owners:   make(map[string]openings, len(frame.Owners)),
		traffic:  map[kind]traffic{},
	}
	var s step
	if r == nil {
		r = &reading{}
	} else if elapsed := frame.Time.Sub(r.frame.Time); elapsed > 0 {
		s.seconds = elapsed.Seconds()
		s.skipped = max(0, int(math.Round(float64(elapsed)/float64(interval)))-1)
	}
	after.count(r, s)
	for _, o := range frame.Owners {
		before, known := r.owners[o.Owner]
		after.owners[o.Owner] = openings{
			before.passed.next(o.Passed, growth(before.passed.total, o.Passed, known), s),
			before.dropped.next(o.Refused(), growth(before.dropped.total, o.Refused(), known), s),
		}
	}
	return after
}

// count adds the counters of all interfaces and families up by verdict and
// reason. It compares each with itself: an interface that comes with old counters
// has not sent them in the last second.
func (r *reading) count(before *reading, s step) {
	type sum struct{ packets, bytes, morePackets, moreBytes uint64 }
	sums := map[kind]sum{}
	for _, c := range r.frame.Counters {
		key := c
		key.Packets, key.Bytes = 0, 0
		r.counters[key] = c
		old, known := before.counters[key]
		for _, reason := range []string{c.Reason, ""} {
			k := kind{c.Layer, c.Verdict, reason}
			was := sums[k]
			sums[k] = sum{
				was.packets + c.Packets, was.bytes + c.Bytes,
				was.morePackets + growth(old.Packets, c.Packets, known), was.moreBytes + growth(old.Bytes, c.Bytes, known),
			}
		}
	}
	for k, n := range sums {
		old := before.traffic[k]
		r.traffic[k] = traffic{
			old.packets.next(n.packets, n.morePackets, s),
			old.bytes.next(n.bytes, n.moreBytes, s),
		}
	}
}

// growth is from one total to the next. A total that fell began again at 0.
func growth(from, to uint64, known bool) uint64 {
	switch {
	case !known:
		return 0
	case to < from:
		return to
	}
	return to - from
}
