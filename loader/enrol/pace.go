// This file bounds how often each owner asks.

package enrol

import "time"

// perMinute is how often an owner may ask in a minute.
const perMinute = 10

// Pace counts what each owner asked in this minute. It is for one goroutine at a time.
type Pace struct {
	since time.Time // when the minute began
	asked map[string]int
}

// Room reports whether owner may ask once more at now, and counts that he did. All who have no limits are
// one: an authority could name any number of them.
func (p *Pace) Room(owner string, now time.Time) bool {
	if now.Sub(p.since) >= time.Minute || p.asked == nil {
		p.since, p.asked = now, map[string]int{}
	}
	p.asked[owner]++
	return p.asked[owner] <= perMinute
}
