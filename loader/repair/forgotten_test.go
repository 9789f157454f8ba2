package repair

// Promise guarded here: a driver is said to have forgotten our program on evidence only, and
// an operator reads how much came in unseen.

import (
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader"
)

func TestSight(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	first := loader.Traffic{LinkID: 1, Received: 1000, Counted: 1000}
	for name, c := range map[string]struct {
		next           loader.Traffic
		ran, forgotten bool
		evidence       string
	}{
		"a frame was counted":    {next: loader.Traffic{LinkID: 1, Received: 5000, Counted: 1001}, ran: true},
		"nothing came in":        {next: first},
		"a few are no evidence":  {next: loader.Traffic{LinkID: 1, Received: 1100, Counted: 1000}},
		"many, and none counted": {next: loader.Traffic{LinkID: 1, Received: 1101, Counted: 1000}, forgotten: true, evidence: "101 frames were received in 10s and our program was given none: the driver has forgotten it"},
		"the backstop refused one": {
			next: loader.Traffic{LinkID: 1, Received: 1001, Counted: 1000, Refused: 1}, forgotten: true,
			evidence: "1 frame was received in 10s, of which the backstop refused 1, and our program was given none: the driver has forgotten it",
		},
		"another link":   {next: loader.Traffic{LinkID: 2, Received: 9000, Counted: 1000}},
		"a device anew":  {next: loader.Traffic{LinkID: 1, Received: 10, Counted: 1000}},
		"a counter anew": {next: loader.Traffic{LinkID: 1, Received: 9000, Counted: 0}},
	} {
		s := &sight{wait: firstRelink}
		s.see(first, begin)
		ran, forgotten := s.see(c.next, begin.Add(10*time.Second))
		if ran != c.ran || forgotten != c.forgotten {
			t.Errorf("%s: ran %v, forgotten %v, want %v and %v", name, ran, forgotten, c.ran, c.forgotten)
		}
		if forgotten && s.evidence() != c.evidence {
			t.Errorf("%s: %s, want %s", name, s.evidence(), c.evidence)
		}
	}
}
