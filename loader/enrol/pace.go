// This file counts how often each owner asks.

package enrol

import "time"

// PerMinute is how often an owner may ask in a minute.
const PerMinute = 10

// Pace counts what each owner asked in this minute. It is for one goroutine at a time.
type Pace struct {
	since time.Time // when the minute began
	asked map[string]int
}

// Asked counts that owner asks at now, and returns how often he did in this minute.
func (p *Pace) Asked(owner string, now time.Time) int {
	if now.Sub(p.since) >= time.Minute || p.asked == nil {
		p.since, p.asked = now, map[string]int{}
	}
	p.asked[owner]++
	return p.asked[owner]
}
