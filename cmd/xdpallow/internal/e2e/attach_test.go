package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// forms are the ways in which another program can hold an interface.
var forms = []struct {
	name   string
	flags  int
	byLink bool
}{
	{"netlink native", nl.XDP_FLAGS_DRV_MODE, false},
	{"netlink generic", nl.XDP_FLAGS_SKB_MODE, false},
	{"link native", nl.XDP_FLAGS_DRV_MODE, true},
	{"link generic", nl.XDP_FLAGS_SKB_MODE, true},
}

// Promise: an interface that another XDP program holds is never stolen and never
// called guarded: run exits 1, names the program and leaves nothing behind.
func TestForeignProgram(t *testing.T) {
	t.Parallel()
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.serve()
			free := labtest.Must(h.lab.AddLink("eth1"))(t)
			id := h.occupy(form.flags, form.byLink)
			for _, mode := range []string{"auto", "native", "generic"} {
				d := h.start(binary, append(allowed, "--attach", mode, "--interface", "eth0,eth1")...)
				want := fmt.Sprintf("xdpallow: error: eth0: another XDP program holds it: id %d (pass)", id)
				if code := d.ends(); code != 1 || !strings.Contains(d.logged(), want) || !strings.Contains(d.logged(), "xdpallow: hint: bpftool net show dev eth0") {
					t.Errorf("--attach %s: exit %d, want 1 and %q:\n%s", mode, code, want, d.logged())
				}
				if has := h.xdp("eth0"); has != id {
					t.Errorf("--attach %s: eth0 runs program %d, the other was %d", mode, has, id)
				}
				if has := h.xdp("eth1"); has != 0 {
					t.Errorf("--attach %s: eth1 was left with program %d", mode, has)
				}
				if pins, _ := os.ReadDir(filepath.Join(h.bpffs(), "links")); len(pins) > 0 {
					t.Errorf("--attach %s: links were left pinned: %v", mode, pins)
				}
			}
			h.knock(netlab.Connected, netlab.Connected)
			labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(free), netlab.Connected)
		})
	}
}

// xdp returns the id of the program on an interface, 0 for none.
func (h *host) xdp(name string) uint32 {
	h.tb.Helper()
	device, err := h.lab.Host.Netlink().LinkByName(name)
	if err != nil {
		h.tb.Fatal(err)
	}
	if device.Attrs().Xdp == nil || !device.Attrs().Xdp.Attached {
		return 0
	}
	return device.Attrs().Xdp.ProgId
}

// Promise: --attach native refuses to degrade; auto takes generic and says why.
func TestAttachLadder(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	if err := h.lab.Host.Netlink().LinkAdd(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "ifb7"}}); err != nil {
		t.Fatal(err)
	}
	d := h.start(binary, append(allowed, "--interface", "eth0,ifb7", "--attach", "native")...)
	if code := d.ends(); code != 1 || !strings.Contains(d.logged(), "xdpallow: error: ifb7: native XDP is unavailable: operation not supported") {
		t.Errorf("exit %d, want 1 and the kernel's reason:\n%s", code, d.logged())
	}
	if h.xdp("eth0") != 0 || h.xdp("ifb7") != 0 {
		t.Error("a refused start left a program behind")
	}
	d = h.run(append(allowed, "--interface", "eth0,ifb7")...)
	reasons := map[string]string{}
	for _, i := range h.status().Interfaces {
		reasons[i.Name+" "+i.Attach] = i.Reason
	}
	if reason, found := reasons["eth0 native"]; !found || reason != "" || !strings.Contains(reasons["ifb7 generic"], "operation not supported") {
		t.Errorf("interfaces are %q, want eth0 native and ifb7 generic with the kernel's reason", reasons)
	}
	if !strings.Contains(d.logged(), "ifb7: attached (generic); a dropped packet costs") {
		t.Errorf("the log does not tell the cost:\n%s", d.logged())
	}
}

// Promise: a link that is up in one mode is not taken off to be attached in another;
// the two commands that do so are printed, and the gate stays shut meanwhile.
func TestOtherAttachModeIsRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(append(allowed, "--attach", "native")...).stop()
	d := h.start(binary, append(allowed, "--attach", "generic")...)
	if code := d.ends(); code != 1 || !strings.Contains(d.logged(), "eth0: attached native, asked for generic") {
		t.Errorf("exit %d, want 1:\n%s", code, d.logged())
	}
	_, hint, _ := strings.Cut(d.logged(), "xdpallow: hint: ")
	detach, again, _ := strings.Cut(strings.TrimSpace(hint), "; ")
	where := " --socket " + h.socket() + " --state " + h.state() + " --bpffs " + h.bpffs()
	if detach != "xdpallow detach --yes --interface eth0"+where || !strings.HasPrefix(again, "xdpallow run ") || !strings.HasSuffix(again, "--attach generic") {
		t.Fatalf("the hint is not the two commands: %q", hint)
	}
	h.shut()
	h.must(strings.Fields(detach)[1:]...)
	h.run(append(allowed, "--attach", "generic")...)
	if h.guarded("eth0") != "generic" {
		t.Errorf("after the two commands: %+v", h.status().Interfaces)
	}
}

// Promise: a late or re-created interface is attached as --attach says, or the next
// start with the same flags would be refused.
func TestLateInterfaceIsAttachedAsAsked(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	args := append(allowed[:len(allowed):len(allowed)], "--interface", "eth0,eth1", "--attach", "generic")
	d := h.run(args...)
	labtest.Must(h.lab.AddLink("eth1"))(t)
	h.eventually("eth1 guarded", func() bool { return h.guarded("eth1") != "" })
	if mode := h.guarded("eth1"); mode != "generic" {
		t.Errorf("eth1 is attached %s, asked for generic", mode)
	}
	d.stop()
	h.run(args...)
}
