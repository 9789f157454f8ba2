package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// stream adds prefixes one by one until the daemon is gone, and returns those that
// were acknowledged.
func (h *host) stream(next func() netip.Prefix) (acknowledged []netip.Prefix) {
	for {
		prefix := next()
		if h.cli("add", prefix.String(), "--owner", "acme").code != 0 {
			return acknowledged
		}
		acknowledged = append(acknowledged, prefix)
	}
}

// Promise: nothing lost. What add has acknowledged is on disk and in the kernel after
// a SIGKILL at any moment, and nobody is listed whom nobody added.
func TestAcknowledgedSurvivesSIGKILL(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	random := rand.New(rand.NewPCG(seed(t), 0))
	asked := map[netip.Prefix]bool{}
	var acknowledged []netip.Prefix
	var mu sync.Mutex
	next := func() netip.Prefix {
		mu.Lock()
		defer mu.Unlock()
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(len(asked) >> 8), byte(len(asked))}), 32)
		asked[prefix] = true
		return prefix
	}
	for round := range 6 {
		d := h.run(allowed...)
		// Two at a time, so that one may be half way when the other is acknowledged.
		var streams sync.WaitGroup
		for range 2 {
			streams.Go(func() {
				done := h.stream(next)
				mu.Lock()
				defer mu.Unlock()
				acknowledged = append(acknowledged, done...)
			})
		}
		time.Sleep(time.Duration(50+random.IntN(300)) * time.Millisecond)
		d.kill()
		streams.Wait()
		h.shut()
		h.survived(fmt.Sprintf("round %d, no daemon", round), acknowledged, asked)
	}
	h.run(allowed...)
	h.healed()
	h.survived("at the end", acknowledged, asked)
	for _, prefix := range acknowledged {
		if r := h.cli("check", prefix.Addr().String()); r.code != 0 {
			t.Fatalf("%s was acknowledged, and the kernel drops it: %s%s", prefix, r.stdout, r.stderr)
		}
	}
	if len(acknowledged) < 6 {
		t.Errorf("%d adds were acknowledged in all: too few to prove anything", len(acknowledged))
	}
}

// survived asserts that all of acknowledged are listed, and nothing that was not asked.
func (h *host) survived(when string, acknowledged []netip.Prefix, asked map[netip.Prefix]bool) {
	h.tb.Helper()
	listed := map[netip.Prefix]bool{}
	for _, entry := range ask[api.Listing](h, "list", "--owner", "acme").Entries {
		listed[entry.Prefix] = true
		if !asked[entry.Prefix] {
			h.tb.Errorf("%s: %s is listed and was never added", when, entry.Prefix)
		}
	}
	for _, prefix := range acknowledged {
		if !listed[prefix] {
			h.tb.Errorf("%s: %s was acknowledged and is lost", when, prefix)
		}
	}
}
