package talkers

// This file counts one slice of time. Slices are counted apart because only
// then the promise survives that the window slides: who has more than one part
// in Capacity of the window has it in some slice, and is found there. One count
// from which the past is taken away again forgets somebody who was small beside
// a past that has left the window since.

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// pane is one slice of the window. Times are since the sketch began.
type pane struct {
	start   time.Duration
	samples uint64
	packets uint64 // that the samples stand for, exactly
	lost    uint64

	addresses, prefixes tally
}

func newPane(room int) *pane {
	return &pane{addresses: newTally(room), prefixes: newTally(room)}
}

func (p *pane) reset() {
	*p = pane{addresses: p.addresses.emptied(), prefixes: p.prefixes.emptied()}
}

func (p *pane) add(s Sample, at time.Duration) {
	p.samples++
	p.packets += s.Weight
	if !s.Source.IsValid() {
		return
	}
	p.addresses.add(netip.PrefixFrom(s.Source, s.Source.BitLen()), s, at)
	p.prefixes.add(around(s.Source), s, at)
}

// around is the /24 or /48 that is counted as one neighbourhood.
func around(source netip.Addr) netip.Prefix {
	bits := 48
	if source.Is4() {
		bits = 24
	}
	prefix, _ := source.Prefix(bits) // fails for lengths over BitLen only
	return prefix
}

// tally is lossy counting (Manku and Motwani) with a fixed room in place of a
// fixed error: when it is full, the lighter half goes. It holds every key that
// weighs more than floor, and floor times half of room is at most the weight of
// all that was added.
type tally struct {
	room     int
	floor    uint64 // no key that is not here weighs more
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
	cause       cause
}

func newTally(room int) tally {
	return tally{room: room, counters: make(map[netip.Prefix]counter, room), weights: make([]uint64, 0, room)}
}

// emptied is a new tally in the memory of t.
func (t *tally) emptied() tally {
	clear(t.counters)
	return tally{room: t.room, counters: t.counters, weights: t.weights}
}

func (t *tally) add(key netip.Prefix, s Sample, at time.Duration) {
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
	c.cause.vote(s.Reason, s.Weight)
	t.counters[key] = c
}

// prune forgets all that weighs no more than the median: half of the keys or
// more, so that pruning costs a sort once in half a room of new keys.
func (t *tally) prune() {
	t.weights = t.weights[:0]
	for _, c := range t.counters {
		t.weights = append(t.weights, c.packets+c.missed)
	}
	slices.Sort(t.weights)
	t.floor = t.weights[len(t.weights)/2]
	maps.DeleteFunc(t.counters, func(_ netip.Prefix, c counter) bool { return c.packets+c.missed <= t.floor })
}

// cause is the reason of most packets, if one reason has more than half of them
// (the majority vote of Boyer and Moore, in room for one), else of many.
type cause struct {
	reason string
	lead   uint64
}

func (c *cause) vote(reason string, weight uint64) {
	switch {
	case reason == c.reason:
		c.lead += weight
	case weight > c.lead:
		c.reason, c.lead = reason, weight-c.lead
	default:
		c.lead -= weight
	}
}
