package reconcile

import (
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// This file warns of what ends soon: a customer whose entry ends is a customer who is
// dropped, and whoever made the entry has long forgotten when.

// tellEvery is how often it is said what ends soon.
const tellEvery = 24 * time.Hour

// tellExpiring logs once a day what ends within Soon, the next of it by name. The
// caller holds the mutex.
func (e *Engine) tellExpiring(now time.Time) {
	if now.Sub(e.timers.told).Abs() < tellEvery {
		return
	}
	e.timers.told = now
	wall := e.enforced.Now()
	n := e.enforced.Counts.Ending(wall, api.Soon)
	if n == 0 {
		return
	}
	var next *policy.Entry
	for entry := range e.enforced.Policy.Entries.All() {
		if query.EndsWithin(entry, wall, api.Soon) && (next == nil || entry.Until().Before(next.Until())) {
			next = entry
		}
	}
	if next == nil {
		return
	}
	whose := ""
	if next.Owner() != "" {
		whose = " (" + next.Owner() + ")"
	}
	e.options.Log.Warn(fmt.Sprintf("%s within 14 days, first %s%s at %s: xdpallow list --expiring 14d%s", policy.Count(n, "prefix ends", "prefixes end"),
		next.Prefix, whose, next.Until().UTC().Format(time.RFC3339), e.options.HintFlags), "expiring", n)
}
