package e2e

import (
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise (0 gaps): an interface that is renamed while the daemon runs keeps its program,
// its counters and its pins; a new one that gets the old name is guarded beside it, as
// --interface asks, and a restart finds both.
func TestRenamedWhileRunning(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	old := labtest.Must(h.lab.AddLink("eth1"))(t)
	d := h.run(append(alone, "--interface", "eth0,eth1")...)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(old), netlab.Dropped)
	before, counted := h.interfaceOf("eth1"), h.packets("eth1", "drop", "not_listed")
	h.rename("eth1", "wan0")
	h.eventually("the renamed one is known by its name", func() bool { return h.interfaceOf("wan0").Attached })
	labtest.Must(h.lab.AddLink("eth2"))(t)
	h.rename("eth2", "eth1")
	h.eventually("the new one is guarded", func() bool { return h.interfaceOf("eth1").Attached })

	if at := h.interfaceOf("wan0"); at.LinkID != before.LinkID || at.ProgramID != before.ProgramID {
		t.Errorf("renamed it is %+v, and was %+v", at, before)
	}
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, apiAt(old), netlab.Connected)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(old), netlab.Dropped)
	if now := h.packets("wan0", "drop", "not_listed"); now <= counted {
		t.Errorf("%d drops after %d", now, counted)
	}
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(h.lab.Link("eth2")), netlab.Dropped)
	p := h.broken("interface_not_named", "wan0")
	if s := h.status(); !s.Enforcing || !strings.Contains(p.Hint, "detach --interface wan0") {
		t.Errorf("enforcing %v, %+v", s.Enforcing, p)
	}

	d.stop()
	h.run(append(alone, "--interface", "eth0,eth1")...)
	if at := h.interfaceOf("wan0"); at.LinkID != before.LinkID || !at.Attached {
		t.Errorf("after a restart it is %+v, and was %+v", at, before)
	}
	if !h.interfaceOf("eth1").Attached {
		t.Error("after a restart the new one is not guarded")
	}
}

// interfaceOf is what status says of one interface.
func (h *host) interfaceOf(name string) api.Interface {
	h.tb.Helper()
	for _, i := range h.status().Interfaces {
		if i.Name == name {
			return i
		}
	}
	return api.Interface{}
}

func (h *host) rename(from, to string) {
	h.tb.Helper()
	handle := h.lab.Host.Netlink()
	device, err := handle.LinkByName(from)
	h.check(err)
	h.check(handle.LinkSetName(device, to))
}
