package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Promise: who was refused while the daemon was down is an event when it is up again, with
// the time at which he was refused.
func TestEventsWhileTheDaemonWasDown(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(alone...).kill()
	h.oneSYN(netlab.Unlisted4, h.api4(), netlab.Dropped)
	refused := time.Now()
	h.run(alone...)
	h.eventually("the refusal is an event", func() bool {
		for line := range strings.Lines(h.must("events", "-o", "json")) {
			var e events.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if e.Source == netlab.Unlisted4 && e.Time.Before(refused) && e.Time.After(refused.Add(-time.Minute)) {
				return true
			}
		}
		return false
	})
}
