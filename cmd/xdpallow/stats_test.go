package main

// Promise guarded here: stats -o prometheus counts entries as a scrape does, those that
// end soon among them, from the daemon or from pins, and prints nothing of a reading
// that failed.

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

func TestStatsPrometheus(t *testing.T) {
	engine := sampleEngine()
	soon, later := time.Now().Add(api.Soon-time.Hour), time.Now().Add(api.Soon+time.Hour)
	engine.listing.Entries[1].Until, engine.listing.Entries[2].Until = &soon, &later
	for _, w := range []*world{newWorld(t).serve(t, engine), {socket: t.TempDir() + "/none", pins: engine}} {
		code, out, stderr := w.sh("stats -o prometheus")
		for _, line := range []string{
			`xdpallow_entries{family="ipv4"} 2`, `xdpallow_entries{family="ipv6"} 1`, `xdpallow_entries_expiring 1`,
			`xdpallow_packets_total{family="ipv4",interface="eth0",layer="xdp",reason="not_listed",verdict="drop"} 2`,
			`xdpallow_enforcing 0`,
		} {
			if code != 0 || !strings.Contains(out, "\n"+line+"\n") {
				t.Errorf("exit %d, no %s in\n%s%s", code, line, out, stderr)
			}
		}
	}
	engine.err = errors.New("read the counters: gone")
	if code, out, stderr := newWorld(t).serve(t, engine).sh("stats -o prometheus"); code != 1 || out != "" || !strings.Contains(stderr, "gone") {
		t.Errorf("of a broken gate: exit %d\n%s%s", code, out, stderr)
	}
}
