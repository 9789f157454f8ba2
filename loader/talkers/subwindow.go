package talkers

// This file counts one slice of the window. Slices are counted apart, because only then the
// promise holds while the window slides: a source with more than one part in Capacity of the
// window has that in some slice, and is found there. A single count from which the past is
// subtracted would forget a source that was small beside a past that has left the window.

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// subwindow is one slice of the window. Times are since the sketch began.
type subwindow struct {
	start   time.Duration
	samples uint64
	packets uint64 // that the samples stand for, exactly
	lost    uint64

	addresses, prefixes lossyCounts
}

func newSubwindow(room int) *subwindow {
	return &subwindow{addresses: newLossyCounts(room), prefixes: newLossyCounts(room)}
}

func (p *subwindow) reset() {
	*p = subwindow{addresses: p.addresses.emptied(), prefixes: p.prefixes.emptied()}
}

func (p *subwindow) add(s Sample, at time.Duration) {
	p.samples++
	p.packets += s.Weight
	if !s.Source.IsValid() {
		return
	}
	p.addresses.add(netip.PrefixFrom(s.Source, s.Source.BitLen()), s, at)
	p.prefixes.add(around(s.Source), s, at)
}

// around is the /24 or /48 around source, which is counted as one.
func around(source netip.Addr) netip.Prefix {
	bits := 48
	if source.Is4() {
		bits = 24
	}
	prefix, _ := source.Prefix(bits) // fails for lengths over BitLen only
	return prefix
}

// lossyCounts is lossy counting (Manku and Motwani) with a fixed room in place of a fixed
// error: when it is full, the lighter half is dropped. It holds every key that weighs more
// than floor. floor times half of room is at most the weight of all that was added.
type lossyCounts struct {
	room     int
	floor    uint64 // a key that is not held weighs at most this
	counters map[netip.Prefix]counter
	weights  []uint64 // to find the median in
}

// counter is one key. It weighs at least packets, at most packets + missed.
type counter struct {
	packets     uint64 // since it was taken in
	missed      uint64 // before that, at most
	bytes       uint64
	samples     uint64
	first, last time.Duration
	reason      majority
}

func newLossyCounts(room int) lossyCounts {
	return lossyCounts{room: room, counters: make(map[netip.Prefix]counter, room), weights: make([]uint64, 0, room)}
}

// emptied returns lossyCounts without keys that reuse the memory of t.
func (t *lossyCounts) emptied() lossyCounts {
	clear(t.counters)
	return lossyCounts{room: t.room, counters: t.counters, weights: t.weights}
}

func (t *lossyCounts) add(key netip.Prefix, s Sample, at time.Duration) {
	c, held := t.counters[key]
	if !held {
		if len(t.counters) >= t.room {
			t.prune()
		}
		c = counter{missed: t.floor, first: at}
	}
	c.packets += s.Weight
	c.bytes += s.Weight * uint64(s.Bytes)
	c.samples++
	c.last = at
	c.reason.vote(s.Reason, s.Weight)
	t.counters[key] = c
}

// prune drops every key that weighs no more than the median. That is half of the keys or
// more, so at least room/2 new keys come before the next sort.
func (t *lossyCounts) prune() {
	t.weights = t.weights[:0]
	for _, c := range t.counters {
		t.weights = append(t.weights, c.packets+c.missed)
	}
	slices.Sort(t.weights)
	t.floor = t.weights[len(t.weights)/2]
	maps.DeleteFunc(t.counters, func(_ netip.Prefix, c counter) bool { return c.packets+c.missed <= t.floor })
}

// majority is the reason of more than half of the packets, or of many where no reason has
// half of them: the vote of Boyer and Moore, which remembers one candidate.
type majority struct {
	reason string
	lead   uint64 // in packets
}

func (m *majority) vote(reason string, weight uint64) {
	switch {
	case reason == m.reason:
		m.lead += weight
	case weight > m.lead:
		m.reason, m.lead = reason, weight-m.lead
	default:
		m.lead -= weight
	}
}
