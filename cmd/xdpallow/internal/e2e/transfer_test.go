package e2e

import (
	"slices"
	"testing"
)

// Promise: SIGKILL at any step of an import leaves all of the old state or all of the new
// one: entries, suspensions and limits, on disk as in the kernel.
func TestKilledAtEachStepOfAnImport(t *testing.T) {
	t.Parallel()
	const head = "# All that commands of xdpallow made on a host. To make it so again: xdpallow import FILE\n"
	exports := []string{
		head + "suspend 192.0.3.7/32 since=2026-11-21T09:00:00Z by=7 reason=OPS-1\nlimit acme 200/s burst=400\n" +
			"192.0.2.0/24 owner=acme\n192.0.3.0/24\n",
		head + "suspend acme since=2026-11-21T09:00:00Z by=7 held=1\nheld acme 192.0.2.0/24\nlimit globex 5/s burst=5\n" +
			"192.0.2.0/24 owner=acme\n192.0.3.0/24 owner=globex\n192.0.4.0/24\n",
	}
	passes := map[string][2]bool{"192.0.2.1": {true, false}, "192.0.3.7": {false, true}, "192.0.3.1": {true, true}, "192.0.4.1": {false, true}}
	h := newHost(t)
	d := h.run("--allow-empty")
	h.fed(exports[0], "import", "-")
	side := 0
	at := func(when string) int {
		t.Helper()
		text := h.must("export")
		i := slices.Index(exports, text)
		if i < 0 {
			t.Fatalf("%s there is neither the old nor the new state:\n%s", when, text)
		}
		return i
	}
	steps(t, func(n int) bool {
		killed := d.killAt(n, func() { h.feed(exports[1-side], "import", "-", "--allow-open", "--force-shrink") })
		if killed {
			at("killed,")
			d = h.run("--allow-empty")
		}
		now := at("started again,")
		for addr, want := range passes {
			if r := h.cli("check", addr); (r.code == 0) != want[now] {
				t.Errorf("step %d: state %d, and check %s says %+v", n, now, addr, r)
			}
		}
		if s := h.status(); !s.Enforcing {
			t.Errorf("step %d: %+v", n, s.Problems)
		}
		if !killed && now == side {
			t.Errorf("step %d: not killed, and nothing was changed", n)
		}
		side = now
		return killed
	})
}
