//go:build nic

package reconcile_test

// This file holds what the engine makes of a driver that forgets our program, or refuses
// it; it runs where the kernels tool gave the guest two NICs whose driver does.

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: a NIC whose driver forgets the program, while the kernel still reports it
// attached, is found by the frames that it received and the program never counted. Then
// nobody claims that the gate enforces; the program is linked again, and strangers are
// refused. XDPALLOW_NIC_FORGETS says whether the driver at hand forgets.
func TestDriverThatForgets(t *testing.T) {
	if os.Getenv("XDPALLOW_NIC") == "" {
		t.Fatal("no NICs: kernels -nic vmxnet3 -env XDPALLOW_NIC=native -env XDPALLOW_NIC_FORGETS=yes")
	}
	forgets := os.Getenv("XDPALLOW_NIC_FORGETS") == "yes"
	g := newGate(t, 1)
	if err := g.lab.DeleteLink("eth0"); err != nil {
		t.Fatal(err)
	}
	g.pair()
	g.start()
	g.probed()
	g.flooded("attached", true)
	if p := g.probed(); slices.ContainsFunc(p, notRun) {
		t.Errorf("every frame was counted, and there are problems %+v", p)
	}
	if err := labtest.SetMTU(g.lab.Host, "eth0", 1400); err != nil {
		t.Fatal(err)
	}
	g.inHost(g.engine.Follow)
	g.flooded("after a new MTU", !forgets)
	g.inHost(g.engine.Watch)
	status := labtest.Must(g.engine.Snapshot(context.Background()))(t)
	if got := slices.ContainsFunc(status.Problems, notRun); got != forgets || status.Enforcing == forgets {
		t.Errorf("enforcing %v, problems %+v, of a driver that forgets: %v", status.Enforcing, status.Problems, forgets)
	}
	g.flooded("linked again", true)
	if p := g.probed(); slices.ContainsFunc(p, notRun) {
		t.Errorf("the program runs again, and there are problems %+v", p)
	}
}

// Promise: where the backstop stands, one stranger is enough to find such a driver: he was
// refused at the socket, came in by a guarded interface, and its program saw nobody.
func TestDriverThatForgetsBeforeTheBackstop(t *testing.T) {
	if os.Getenv("XDPALLOW_NIC_FORGETS") != "yes" {
		t.Fatal("no NIC that forgets: kernels -nic vmxnet3 -env XDPALLOW_NIC=native -env XDPALLOW_NIC_FORGETS=yes")
	}
	g := newGate(t, 1)
	g.options.Backstop = "on"
	if err := g.lab.DeleteLink("eth0"); err != nil {
		t.Fatal(err)
	}
	link := g.pair()
	g.start()
	g.probed()
	if err := labtest.SetMTU(g.lab.Host, "eth0", 1300); err != nil {
		t.Fatal(err)
	}
	g.inHost(g.engine.Follow)
	refused := labtest.Must(g.lab.Host.Counter("Tcp:OutRsts"))(t)
	labtest.Must(link.Flood(context.Background(), netlab.Flood{
		Sources: netip.MustParsePrefix("198.18.0.0/15"), Target: netip.AddrPortFrom(link.Host4, 8443), Count: 1,
	}))(t)
	for deadline := time.Now().Add(20 * time.Second); labtest.Must(g.lab.Host.Counter("Tcp:OutRsts"))(t) == refused; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the stranger met neither the program nor the backstop")
		}
	}
	if p := g.probed(); !slices.ContainsFunc(p, notRun) {
		t.Errorf("a stranger met the backstop and not the program, and the problems are %+v", p)
	}
	g.flooded("linked again", true)
}

// Promise: an MTU that grows beyond what the driver has XDP for, as that of virtio_net does
// on Linux 6.1, is a problem line with the command that takes it back, and the gate stands;
// the next daemon starts, says so too, and takes its own program once the MTU is small.
func TestMTUBeyondTheDriver(t *testing.T) {
	beyond, err := strconv.Atoi(os.Getenv("XDPALLOW_NIC_BEYOND"))
	if err != nil {
		t.Fatal("no NIC with such a driver: kernels -nic virtio-net-pci -env XDPALLOW_NIC=native -env XDPALLOW_NIC_BEYOND=5000 6.1")
	}
	g := newGate(t, 1)
	if err := g.lab.DeleteLink("eth0"); err != nil {
		t.Fatal(err)
	}
	g.pair()
	g.start()
	set := func(mtu int) {
		t.Helper()
		if err := labtest.SetMTU(g.lab.Host, "eth0", mtu); err != nil {
			t.Fatal(err)
		}
		g.inHost(g.engine.Follow)
	}
	// told fails the test unless the problem, and no other, is there and has that hint; ""
	// is no problem.
	told := func(when, hint string) {
		t.Helper()
		g.flooded(when, true)
		status := labtest.Must(g.engine.Snapshot(context.Background()))(t)
		problems := slices.DeleteFunc(status.Problems, func(p api.Problem) bool { return p.Code != "mtu" })
		if !status.Enforcing || hint == "" && len(problems) > 0 {
			t.Errorf("%s: enforcing %v, problems %+v", when, status.Enforcing, problems)
		}
		if hint != "" && (len(problems) != 1 || problems[0].Subject != "eth0" || problems[0].Hint != hint ||
			!strings.Contains(problems[0].Text, strconv.Itoa(beyond))) {
			t.Errorf("%s: problems %+v, want one with the hint %q", when, problems, hint)
		}
	}
	g.probed()
	told("attached", "")
	set(1600)
	told("a larger MTU", "")
	set(beyond)
	told("beyond the driver", "ip link set dev eth0 mtu 1600")
	g.probed()
	told("a probe later", "ip link set dev eth0 mtu 1600")
	set(1600)
	told("taken back", "")

	set(beyond)
	g.stop()
	g.start()
	g.probed()
	told("another daemon", "ip link set dev eth0 mtu 3492")
	before := g.programID()
	set(3492)
	told("taken back under another daemon", "")
	if g.programID() == before {
		t.Error("the program of the daemon before runs on with a small MTU")
	}
}

// programID is of the program that eth0 runs.
func (g *gate) programID() uint32 {
	g.Helper()
	device := labtest.Must(g.lab.Host.Netlink().LinkByName("eth0"))(g.T)
	if device.Attrs().Xdp == nil {
		return 0
	}
	return device.Attrs().Xdp.ProgId
}

func notRun(p api.Problem) bool { return p.Code == "not_run" }

// pair makes the NICs of the guest eth0 of the lab. After a test before this one they come
// home some time later, and with other names.
func (g *gate) pair() *netlab.Link {
	g.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var names []string
		for _, device := range labtest.Must(netlink.LinkList())(g.T) {
			if device.Type() == "device" && device.Attrs().Flags&net.FlagLoopback == 0 {
				names = append(names, device.Attrs().Name)
			}
		}
		if len(names) == 2 {
			return labtest.Must(labtest.AddPair(g.lab, "eth0", names[0], names[1]))(g.T)
		}
		if time.Now().After(deadline) {
			g.Fatalf("the guest has the NICs %q, want two", names)
		}
	}
}

func (g *gate) inHost(fn func()) {
	g.Helper()
	if err := g.lab.Host.Do(func() error { fn(); return nil }); err != nil {
		g.Fatal(err)
	}
}

// probed probes, and returns the problems that there are.
func (g *gate) probed() []api.Problem {
	g.Helper()
	g.inHost(g.engine.Watch)
	return labtest.Must(g.engine.Snapshot(context.Background()))(g.T).Problems
}

// flooded sends strangers, and expects the program to refuse all of them or to see none.
func (g *gate) flooded(when string, refused bool) {
	g.Helper()
	reader := g.reader()
	defer reader.Close()
	count := func() uint64 { return labtest.Must(reader.Refused())(g.T) }
	const frames = 300
	link := g.lab.Link("eth0")
	stats := func() uint64 { return labtest.Must(g.lab.Host.Statistics("eth0"))(g.T).RxPackets }
	before, received := count(), stats()
	labtest.Must(link.Flood(context.Background(), netlab.Flood{
		Sources: netip.MustParsePrefix("198.18.0.0/15"), Target: netip.AddrPortFrom(link.Host4, 8443), Count: frames, Rate: 3000,
	}))(g.T)
	want := uint64(0)
	if refused {
		want = frames
	}
	for deadline := time.Now().Add(20 * time.Second); stats()-received < frames || count()-before < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			break
		}
	}
	if got := count() - before; got != want {
		g.Fatalf("%s: %d of %d strangers were refused, want %d (the NIC received %d)", when, got, frames, want, stats()-received)
	}
}
