package e2e

// This file is the traffic that goes on while a test does something to the gate: an
// attack whose every frame is accounted for, and customers who must not notice.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// attackers are nobody's prefix in any test.
var attackers = netip.MustParsePrefix("198.18.0.0/15")

// floodRate is in frames a second: enough for several in any gap, and few enough
// that listed clients and the host's own programs get a turn on two CPUs.
const floodRate = 20_000

// singleSYN is a wait in which a client sends one SYN: the second would follow after
// a second.
const singleSYN = 950 * time.Millisecond

// seed is logged, and can be given again.
func seed(tb testing.TB) uint64 {
	tb.Helper()
	value := rand.Uint64()
	if text := os.Getenv("TEST_SEED"); text != "" {
		var err error
		if value, err = strconv.ParseUint(text, 10, 64); err != nil {
			tb.Fatalf("TEST_SEED: %v", err)
		}
	}
	tb.Logf("TEST_SEED=%d", value)
	return value
}

// attack floods the protected port with unlisted SYNs until end is called, which
// tells how many arrived.
func (h *host) attack(seed uint64) (end func() uint64) {
	h.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var flooded netlab.Flooded
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		flooded, err = h.link().Flood(ctx, netlab.Flood{Sources: attackers, Target: h.api4(), Rate: floodRate, Seed: seed})
	}()
	stop := func() { cancel(); <-done }
	h.tb.Cleanup(stop)
	return func() uint64 {
		h.tb.Helper()
		stop()
		if err != nil {
			h.tb.Fatal(err)
		}
		if flooded.Arrived() < floodRate/10 {
			h.tb.Fatalf("the flood was none: %+v", flooded)
		}
		h.tb.Logf("%d frames in %v", flooded.Arrived(), flooded.Elapsed.Round(time.Millisecond))
		return flooded.Arrived()
	}
}

// customers connect again and again, over IPv4 and IPv6 in turn, until end is
// called, which tells how often each did. Each lost SYN fails the test.
func (h *host) customers() (end func() (ipv4, ipv6 uint64)) {
	h.tb.Helper()
	stop := make(chan struct{})
	var running sync.WaitGroup
	var lost []string
	var knocks [2]uint64
	running.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			from, to := netlab.Listed4, h.api4()
			if i%2 == 1 {
				from, to = netlab.Listed6, h.api6()
			}
			outcome, err := h.lab.Wire.Knock(from, to, singleSYN)
			if outcome != netlab.Connected {
				lost = append(lost, fmt.Sprintf("%v from %s: %v %v", time.Now().Format("15:04:05.000"), from, outcome, err))
			}
			knocks[i%2]++
		}
	})
	h.tb.Cleanup(sync.OnceFunc(func() {
		select {
		case <-stop:
		default:
			close(stop)
		}
		running.Wait()
	}))
	return func() (ipv4, ipv6 uint64) {
		h.tb.Helper()
		close(stop)
		running.Wait()
		if len(lost) > 0 {
			h.tb.Errorf("%d listed SYNs lost of %d: %q", len(lost), knocks[0]+knocks[1], lost)
		}
		if knocks[0] < 10 || knocks[1] < 10 {
			h.tb.Errorf("listed clients hardly tried: %v", knocks)
		}
		h.tb.Logf("%d listed connections", knocks[0]+knocks[1])
		return knocks[0], knocks[1]
	}
}

// segments is what the host's TCP has been given so far.
func (h *host) segments() uint64 {
	h.tb.Helper()
	return labtest.TCPInSegs(h.tb, h.lab.Host)
}

// counted are the counters that are not zero, by "verdict reason family". What IPv6
// says by itself (neighbours, routers, groups) is left out: no test sends it.
func (h *host) counted() map[string]uint64 {
	h.tb.Helper()
	counted := map[string]uint64{}
	for _, c := range ask[api.Stats](h, "stats").Counters {
		key := c.Verdict + " " + c.Reason + " " + c.Family
		// The backstop sees some of the same traffic again.
		if c.Layer == "xdp" && c.Packets > 0 && key != "pass other_protocol ipv6" {
			counted[key] += c.Packets
		}
	}
	return counted
}

// since is what was counted between two readings; a series that went backwards fails
// the test.
func (h *host) since(before map[string]uint64) map[string]uint64 {
	h.tb.Helper()
	delta := map[string]uint64{}
	after := h.counted()
	for key, count := range before {
		if after[key] < count {
			h.tb.Errorf("counter %q went back from %d to %d", key, count, after[key])
		}
	}
	for key, count := range after {
		if count != before[key] {
			delta[key] = count - before[key]
		}
	}
	return delta
}

// drops waits until as many unlisted openings were dropped as were sent: a veth polls
// in its own time.
func (h *host) drops(want uint64) {
	h.tb.Helper()
	var got uint64
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if got = h.packets("drop", "not_listed", "ipv4"); got >= want || time.Now().After(deadline) {
			break
		}
	}
	if got != want {
		h.tb.Errorf("%d drops counted, %d unlisted SYNs arrived", got, want)
	}
}
