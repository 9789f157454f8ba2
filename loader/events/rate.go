package events

// This file decides how many packets pass for each one that is sampled.

import (
	"math"
	"time"
)

const (
	// Budget is how many events there are at most in a second. NearBudget of them are for
	// near misses alone, so that a flood cannot hide a customer.
	Budget     = 1000
	NearBudget = 100

	// target is the part of a budget that is aimed at: samples come in bunches.
	target = 0.9
)

// rate is how many packets come in a second. It follows at once when they come much faster,
// and within a second when they stop: of a trickle after a flood every packet is sampled.
type rate float64

// observe takes in that so many packets came in elapsed.
func (r *rate) observe(packets float64, elapsed time.Duration) {
	now := rate(packets / max(elapsed.Seconds(), 1e-3))
	if now > 2**r {
		*r = now
		return
	}
	*r = (*r + now) / 2
}

// oneIn returns n such that one sample in n packets stays within budget samples a second.
func (r rate) oneIn(budget float64) uint32 {
	return uint32(min(max(math.Ceil(float64(r)/(budget*target)), 1), math.MaxUint32))
}

// lastSecond counts the events that were passed on in the last second.
type lastSecond struct {
	times  []time.Time
	counts []int
}

// room returns how many more events may be passed on at now.
func (s *lastSecond) room(now time.Time, budget int) int {
	for len(s.times) > 0 && now.Sub(s.times[0]) >= time.Second {
		s.times, s.counts = s.times[1:], s.counts[1:]
	}
	for _, n := range s.counts {
		budget -= n
	}
	return max(budget, 0)
}

func (s *lastSecond) count(now time.Time, n int) {
	if n > 0 {
		s.times, s.counts = append(s.times, now), append(s.counts, n)
	}
}
