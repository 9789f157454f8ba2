package e2e

// This file is about source routes: the answer goes where the sender says, so the source
// may be faked.

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/bpf/bpftest/disguise"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Documented, and a promise: where the host takes source routes, a faked listed source
// opens connections beside the gate: by an interface that nobody guards, and by a redirect
// from a port that is not protected. While that is so, a problem says so, with a command
// that ends it.
func TestSourceRoutesAreAProblem(t *testing.T) {
	t.Parallel()
	h := newOpenHost(t)
	second := labtest.Must(h.lab.AddLink("eth1"))(t)
	sysctl(t, h.lab.Host, "ipv4/conf/eth1/accept_source_route", "1")
	redirect(h)
	wire := listenIn(t, h.lab.Wire, "eth0")
	next := uint16(4000)
	opens := func(link *netlab.Link, port uint16) bool {
		t.Helper()
		next++
		client := netip.AddrPortFrom(netlab.Listed4, next)
		hop := netlab.Unlisted4.Next()
		frame := disguise.WithOptions(labtest.Must(link.SYN(client, netip.AddrPortFrom(h.link().Host4, port)))(t),
			append(append([]byte{131, 7, 8}, hop.AsSlice()...), 0))
		if err := link.Send(frame); err != nil {
			t.Fatal(err)
		}
		return within(300*time.Millisecond, func() bool { return wire.saw(client) }) && wire.answerTo(client).via == hop
	}
	const subject = "net.ipv4.conf.all.accept_source_route"
	taken := func(want bool) {
		t.Helper()
		p, found := problem(h.status(), "source_routes", subject)
		if found != want || found && (p.Hint != "sysctl -w "+subject+"=0" || !strings.Contains(p.Text, "eth0, eth1 ")) {
			t.Errorf("problem %v: %+v, want it: %v", found, p, want)
		}
		if got := opens(second, port); got != want {
			t.Errorf("by the interface that nobody guards: opens %v, want %v", got, want)
		}
		if got := opens(h.link(), 9443); got != want {
			t.Errorf("by the redirect: opens %v, want %v", got, want)
		}
		if opens(h.link(), port) {
			t.Error("by the guarded interface to the protected port: opens")
		}
	}
	d := h.run(allowed...)
	taken(true)
	if s := h.status(); !s.Enforcing {
		t.Errorf("does not enforce: %+v", s.Problems)
	}
	if out, err := labtest.Command(context.Background(), h.lab.Host, "sysctl", "-w", subject+"=0").CombinedOutput(); err != nil { // the hint
		t.Fatalf("%v\n%s", err, out)
	}
	taken(false)
	sysctl(t, h.lab.Host, "ipv4/conf/all/accept_source_route", "1")
	d.kill()
	taken(true)
	for _, name := range []string{"eth0", "eth1"} { // each interface has to take them, too
		sysctl(t, h.lab.Host, "ipv4/conf/"+name+"/accept_source_route", "0")
	}
	taken(false)
}
