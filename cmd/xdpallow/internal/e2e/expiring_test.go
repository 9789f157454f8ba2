package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// Promise: what ends within 14 days is warned of, in the log, in status, in stats and in
// list --expiring, until add extends it or it has ended; what ends later is not.
func TestExpiring(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.run(allowed...)
	h.must("add", "198.51.100.0/24", "--owner", "acme", "--for", "13d")
	h.must("add", "192.0.2.0/24", "--owner", "globex", "--for", "90d")
	h.must("add", "192.0.2.9", "--for", "1s")
	expect := func(when string, want ...string) {
		t.Helper()
		var got []string
		for _, e := range ask[api.Listing](h, "list", "--expiring", "14d").Entries {
			got = append(got, e.Prefix.String())
		}
		if s := h.status(); strings.Join(got, " ") != strings.Join(want, " ") || s.Expiring != len(want) {
			t.Errorf("%s: list --expiring has %v, status %d, want %v", when, got, s.Expiring, want)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	expect("at first", "198.51.100.0/24")
	if text := h.must("stats", "-o", "prometheus"); !strings.Contains(text, "\nxdpallow_entries_expiring 1\n") {
		t.Errorf("stats -o prometheus: %s", text)
	}
	d.await("1 prefix ends within 14 days, first 198.51.100.0/24 (acme) at ")
	if n := strings.Count(d.logged(), "within 14 days"); n != 1 {
		t.Errorf("said %d times within a day:\n%s", n, d.logged())
	}
	h.must("add", "198.51.100.0/24", "--owner", "acme", "--for", "90d")
	expect("extended")
	if got := len(ask[api.Listing](h, "list", "--expiring", "13w").Entries); got != 2 {
		t.Errorf("%d entries end within 13 weeks, want 2", got)
	}
}
