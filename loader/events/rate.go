package events

// This file decides how many packets go by for one that is sampled.

import (
	"math"
	"time"
)

const (
	// Budget is how many events a second there are at most, and NearBudget how many of
	// them only near misses may have, so that a flood cannot hide a customer.
	Budget     = 1000
	NearBudget = 100

	// slack is what is aimed at, as a part of a budget: samples come in bunches.
	slack = 0.9
)

// pace is how fast packets come. It follows at once when they come much faster, and
// within a second when they stop: of a trickle after a flood every packet is seen.
type pace float64

func (p *pace) see(packets float64, elapsed time.Duration) {
	now := pace(packets / max(elapsed.Seconds(), 1e-3))
	if now > 2**p {
		*p = now
		return
	}
	*p = (*p + now) / 2
}

// one is of how many packets one is to be sampled.
func (p pace) one(budget float64) uint32 {
	return uint32(min(max(math.Ceil(float64(p)/(budget*slack)), 1), math.MaxUint32))
}

// window counts what was passed on in the last second.
type window struct {
	times  []time.Time
	counts []int
}

// room is how many more may be passed on at now.
func (w *window) room(now time.Time, budget int) int {
	for len(w.times) > 0 && now.Sub(w.times[0]) >= time.Second {
		w.times, w.counts = w.times[1:], w.counts[1:]
	}
	for _, n := range w.counts {
		budget -= n
	}
	return max(budget, 0)
}

func (w *window) take(now time.Time, n int) {
	if n > 0 {
		w.times, w.counts = append(w.times, now), append(w.counts, n)
	}
}
