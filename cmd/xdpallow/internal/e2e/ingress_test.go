package e2e

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: what the backstop refuses of that which came in by a guarded interface is
// shown beside it. A redirect that the program cannot see is no driver that forgets.
func TestRefusedBehindAnInterface(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(allowed...)
	h.knock(netlab.Connected, netlab.Dropped)
	if i := h.status().Interfaces[0]; i.BackstopRefused != 0 {
		t.Fatalf("%+v before anybody came past the program", i)
	}
	out, err := labtest.Command(context.Background(), h.lab.Host, "nft",
		"table ip nat { chain in { type nat hook prerouting priority -100; tcp dport 9443 redirect to :8443; }; }").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	around := netip.AddrPortFrom(h.link().Host4, 9443)
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, around, netlab.Connected)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, around, netlab.Refused)
	s := h.status()
	if i := s.Interfaces[0]; i.BackstopRefused != 1 || !s.Enforcing {
		t.Errorf("enforcing %v, %+v, problems %+v; want 1 refused behind eth0", s.Enforcing, i, s.Problems)
	}
	if text := h.must("status"); !strings.Contains(text, "eth0, native; the backstop refused 1 packet that it let by") {
		t.Errorf("the table does not show it:\n%s", text)
	}
}

// Promise: in audit a guarded interface is not said to be passed by: the program lets
// strangers in knowingly, and the backstop has refused nobody.
func TestAuditIsNoRefusal(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(append(allowed, "--mode", "audit")...)
	h.knock(netlab.Connected, netlab.Connected)
	if i := h.status().Interfaces[0]; i.BackstopRefused != 0 {
		t.Errorf("%+v in audit", i)
	}
}
