package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// The two lists between which a daemon is killed. Each prefix of one is not in the
// other, and no other prefix is on either.
const (
	killedOld = "192.0.2.0/25\n192.0.3.0/24\n"
	killedNew = "192.0.2.128/25\n192.0.3.128/25\n192.0.4.0/24\n"
)

// probes are addresses that tell the lists apart in the kernel: who is listed in the
// old one, in the new one.
var probes = map[string][2]bool{
	"192.0.2.1": {true, false}, "192.0.3.129": {true, true}, "192.0.4.1": {false, true},
}

// side is 0 for the old list, 1 for the new one; any other list fails the test.
func (h *host) side(when string) int {
	h.tb.Helper()
	var text strings.Builder
	for line := range strings.Lines(h.must("list", "-o", "text")) {
		text.WriteString(strings.Fields(line)[0] + "\n")
	}
	at := slices.Index([]string{killedOld, killedNew}, text.String())
	if at < 0 {
		h.tb.Fatalf("%s the list is neither the old nor the new one:\n%s", when, text.String())
	}
	return at
}

// agree fails the test unless kernel, generation and effective list are of one side,
// which it returns.
func (h *host) agree(when string) int {
	h.tb.Helper()
	side := h.side(when)
	for addr, want := range probes {
		if r := h.cli("check", addr); (r.code == 0) != want[side] {
			h.tb.Errorf("%s: side %d, and check %s says %+v", when, side, addr, r)
		}
	}
	listed := []string{killedOld, killedNew}[side]
	effective, err := store.LoadEffective(h.state())
	if err != nil {
		h.tb.Fatalf("%s: %v", when, err)
	}
	for _, claim := range effective.Claims {
		if !claim.Origin.Kept() && !strings.Contains(listed, claim.Prefix.String()+"\n") {
			h.tb.Errorf("%s: side %d, and the effective list has %s (%s)", when, side, claim.Prefix, claim.Origin)
		}
	}
	if s := h.status(); !s.Enforcing || s.Generation < effective.Generation || s.Entries != strings.Count(listed, "\n") {
		h.tb.Errorf("%s: enforcing %v, generation %d with the list of %d, %d entries; problems %+v", when, s.Enforcing, s.Generation, effective.Generation, s.Entries, s.Problems)
	}
	return side
}

// Promise: SIGKILL at any step of a reload that waits for its confirmation, and of its
// rollback, leaves the old list or the new one, never another; and the new one only
// as long as it may still be confirmed. What the daemon would read from the files at
// its next start does not get around that.
func TestKilledAtEachStepOfAConfirmedReload(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	list := h.file("acme.list", killedOld)
	d := h.run("--allow-file", list)
	begun := false // before its first trace on disk, the reload never was
	steps(t, func(n int) bool {
		h.file("acme.list", killedNew)
		killed := d.killAt(n, func() { h.cli("reload", "--confirm", "10m") })
		if killed {
			h.side("killed")
			d = h.run("--allow-file", list)
		}
		side, s := h.agree("restarted"), h.status()
		_, held := problem(s, "held", "file:"+list)
		begun = begun || held || s.Confirm != nil
		if waits := s.Confirm != nil; begun && (waits != (side == 1) || held != (side == 0)) {
			t.Errorf("step %d: side %d, held %v, and %+v waits", n, side, held, s.Confirm)
		}
		if s.Confirm != nil {
			h.must("rollback")
			if h.agree("rolled back") != 0 {
				t.Errorf("step %d: rolled back to the new list", n)
			}
		}
		h.file("acme.list", killedOld)
		h.must("reload")
		return killed
	})
	if !begun {
		t.Error("no reload was begun")
	}
}

// Promise: as above, of the rollback itself and of the confirmation.
func TestKilledAtEachStepOfTheAnswer(t *testing.T) {
	for answer, settled := range map[string]int{"rollback": 0, "confirm": 1} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			list := h.file("acme.list", killedOld)
			d := h.run("--allow-file", list)
			steps(t, func(n int) bool {
				h.file("acme.list", killedNew)
				h.must("reload", "--confirm", "10m")
				killed := d.killAt(n, func() { h.cli(answer) })
				if killed {
					h.side("killed")
					d = h.run("--allow-file", list)
				}
				side, s := h.agree("restarted"), h.status()
				if s.Confirm == nil && side != settled || s.Confirm != nil && side != 1 {
					t.Errorf("step %d: side %d, and %+v waits", n, side, s.Confirm)
				}
				if s.Confirm != nil {
					h.must("rollback")
				}
				h.file("acme.list", killedOld)
				h.must("reload")
				return killed
			})
		})
	}
}

// Promise: as above, of a publish: a list of the command line is replaced whole.
func TestKilledAtEachStepOfAPublish(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.run("--allow-empty")
	h.fed(killedOld, "replace", "-")
	lists := []string{killedOld, killedNew}
	side := 0
	steps(t, func(n int) bool {
		// Nested prefixes that come and go together are no patch.
		killed := d.killAt(n, func() { h.feed(lists[1-side], "replace", "-", "--force-shrink") })
		if killed {
			h.side("killed")
			d = h.run("--allow-empty")
		}
		now := h.agree("restarted")
		if !killed && now == side {
			t.Errorf("step %d: not killed, and nothing was changed", n)
		}
		side = now
		return killed
	})
}

// Promise: as above, of a reading of a list that is kept elsewhere. What the next daemon knows is what
// was taken over, also where the list cannot be read any more.
func TestKilledAtEachStepOfAReading(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	p := newPartner(h)
	config := h.config(fmt.Sprintf("interfaces: [eth0]\nservices: {api: {ports: [%d]}}\norigins: {partner: {url: %q, ca: %s, owner: partner}}\n", port, p.url, p.ca))
	lists := []string{killedOld, killedNew}
	p.publishes(killedOld)
	d := h.run("--config", config)
	h.eventually("the page is taken over", func() bool { return h.status().Entries > 0 })
	side := h.agree("at first")
	steps(t, func(n int) bool {
		p.publishes(lists[1-side])
		killed := d.killAt(n, func() {
			h.cli("reload")
			h.eventually("the page is taken over, or the daemon is dead", func() bool {
				select {
				case <-d.done:
					return true
				default:
					first, _, _ := strings.Cut(lists[1-side], "\n")
					return strings.HasPrefix(h.cli("list", "-o", "text").stdout, first+" ")
				}
			})
		})
		if killed {
			h.side("killed")
			h.check(os.Remove(p.page))
			d = h.run("--config", config)
		}
		now := h.agree("restarted")
		if s := h.status(); len(s.Origins) != 1 || s.Origins[0].Entries != s.Entries {
			t.Errorf("step %d: %d entries, origins %+v", n, s.Entries, s.Origins)
		}
		if !killed && now == side {
			t.Errorf("step %d: not killed, and nothing was changed", n)
		}
		side = now
		return killed
	})
}

// Promise: as above, of a mode: what is recorded is in the kernel after a restart, and what was
// acknowledged is recorded. Whoever is listed gets in all the while, and whoever is not does so in
// an audit alone.
func TestKilledAtEachStepOfAMode(t *testing.T) {
	for to, argv := range map[policy.Mode][]string{policy.Audit: {"mode", "audit", "--for", "10m"}, policy.Enforce: {"mode", "enforce"}} {
		t.Run(string(to), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			d := h.run("--allow", "192.0.2.0/24")
			steps(t, func(n int) bool {
				if to == policy.Enforce {
					h.must("mode", "audit", "--for", "10m")
				} else {
					h.must("mode", "enforce")
				}
				var answer result
				killed := d.killAt(n, func() { answer = h.cli(argv...) })
				if killed {
					d = h.run("--allow", "192.0.2.0/24")
				}
				s := h.status()
				mode := s.Services[0].Mode
				if answer.code == 0 && mode != to {
					t.Errorf("step %d: acknowledged, and %s", n, mode)
				}
				if _, wrong := problem(s, "policy_changed", ""); wrong || s.Enforcing != (mode == policy.Enforce) {
					t.Errorf("step %d: %s, enforcing %v, problems %+v", n, mode, s.Enforcing, s.Problems)
				}
				for addr, passes := range map[string]bool{"192.0.2.1": true, "198.51.100.1": mode == policy.Audit} {
					if r := h.cli("check", addr); (r.code == 0) != passes {
						t.Errorf("step %d: %s, and check %s says %+v", n, mode, addr, r)
					}
				}
				return killed
			})
		})
	}
}
