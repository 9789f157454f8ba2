package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: a range guards its first and last port and those between, and none beside it, in
// the kernel as in check; a range that a reload narrows opens what it leaves in one line,
// and only when that is meant; and after a reboot the same ports are guarded.
func TestPortRange(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, at := range []string{":29999", ":30000", ":31000", ":32767", ":32768"} {
		labtest.Listen(t, h.lab.Host, at)
	}
	const wide = "interfaces: [eth0]\nallow: [203.0.113.0/24]\nservices: {game: {ports: [30000-32767, udp/30000-30002]}}\n"
	config := h.config(wide)
	d := h.run("--config", config)
	expect := func(port int, unlisted netlab.Outcome) {
		t.Helper()
		to := netip.AddrPortFrom(h.link().Host4, uint16(port))
		labtest.Expect(t, h.lab.Wire, netlab.Listed4, to, netlab.Connected)
		labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, to, unlisted)
	}
	guarded := func() {
		t.Helper()
		for _, port := range []int{30000, 31000, 32767} {
			expect(port, netlab.Dropped)
			if got := h.asked(netlab.Unlisted4, port); got != "not_listed" {
				t.Errorf("check says %s of port %d", got, port)
			}
		}
		for _, port := range []int{29999, 32768} {
			expect(port, netlab.Connected)
		}
	}
	guarded()
	if text := h.must("status"); !strings.Contains(text, "game, tcp/30000-32767 udp/30000-30002, enforce, drop syn") {
		t.Errorf("status says\n%s", text)
	}
	if ports := h.status().Services[0].Ports; len(ports) != 2768+3 {
		t.Errorf("status -o json has %d ports", len(ports))
	}
	r := h.cli("check", netlab.Unlisted4.String())
	if want := netlab.Unlisted4.String() + " to tcp/30000-32767: drop, not_listed\n" + netlab.Unlisted4.String() + " to udp/30000-30002: drop, not_listed\n"; r.code != 1 || !strings.HasPrefix(r.stdout, want) {
		t.Errorf("check: exit %d\n%.1000s", r.code, r.stdout)
	}

	h.config(strings.Replace(wide, "30000-32767", "30000-31999", 1))
	if r := h.cli("reload"); r.code != 1 || !strings.Contains(r.stderr, "this would open what is shut: tcp/32000-32767 opens to everybody\n") {
		t.Errorf("reload of fewer ports: exit %d, %s", r.code, r.stderr)
	}
	guarded()
	if plan := h.must("reload", "--allow-open", "--dry-run"); !strings.Contains(plan, "~ service game: ports -tcp/32000-32767\n! tcp/32000-32767 opens to everybody\n") {
		t.Errorf("the dry run says\n%s", plan)
	}
	h.must("reload", "--allow-open")
	expect(31000, netlab.Dropped)
	expect(32767, netlab.Connected)
	history := ask[api.History](h, "history")
	if services := history.Changes[len(history.Changes)-1].Services; len(services) != 2 || services[1] != "! tcp/32000-32767 opens to everybody" {
		t.Errorf("history says %q", services)
	}

	h.config(wide)
	h.must("reload")
	guarded()
	d.kill()
	h.reboot()
	h.run("--config", config)
	guarded()
}
