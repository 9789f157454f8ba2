// Which interface really carries a device's packets is the kernel's choice and not
// ours: each answer of Carriers is proven by a gate on the interfaces that it names,
// which must see what comes to the device that was asked for.
package loader_test

import (
	"cmp"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// deviceKinds are the kinds of device that XDPALLOW_KINDS may name, each with how
// to make one above eth1. It has the address hostAddr, which the wire reaches.
var deviceKinds = map[string]struct {
	make   func(h *host) (device string)
	asked  []string // besides the device itself
	answer []string
}{
	"vlan":    {make: vlan, answer: []string{"eth1"}},
	"macvlan": {make: macvlan, answer: []string{"eth1"}},
	"bond":    {make: bond, asked: []string{"eth1"}, answer: []string{"bond0"}},
	"bridge":  {make: bridge, answer: []string{"eth1", "eth2"}},
}

var (
	hostAddr = netip.MustParsePrefix("10.81.0.1/24")
	wireAddr = netip.MustParsePrefix("10.81.0.2/24")
)

// The default is what the leanest kernel that we know of can do; `make test-kernels`
// asks for every kind. A kernel that lacks one fails, so that none is forgotten.
func TestResolvedInterfacesCarryThePackets(t *testing.T) {
	for kind := range strings.SplitSeq(cmp.Or(os.Getenv("XDPALLOW_KINDS"), "bridge,macvlan"), ",") {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test, known := deviceKinds[kind]
			if !known {
				t.Fatalf("XDPALLOW_KINDS names %q, which is no kind", kind)
			}
			h := newHost(t)
			labtest.Must(h.lab.AddLink("eth1"))(t)
			device := test.make(h)
			for _, name := range append(test.asked, device) {
				h.do(func() error {
					interfaces, err := netdev.Read()
					if err != nil {
						return err
					}
					got, err := interfaces.Carriers(name)
					if diff := gocmp.Diff(test.answer, got); diff != "" {
						t.Errorf("%s (-want +got)\n%s", name, diff)
					}
					return err
				})
			}
			h.uncovered(device, test.answer)
			h.guard(test.answer)
		})
	}
}

// uncovered expects device to be a way in beside the gate, until its carriers are
// guarded.
func (h *host) uncovered(device string, carriers []string) {
	h.Helper()
	h.do(func() error {
		for _, guarded := range [][]string{{"eth0"}, append(slices.Clone(carriers), "eth0")} {
			interfaces, err := netdev.Read()
			if err != nil {
				return err
			}
			uncovered, _ := interfaces.Uncovered(guarded)
			if got, want := slices.Contains(uncovered, device), len(guarded) == 1; got != want {
				h.Errorf("guarding %v leaves %v, with %s: %v, want %v", guarded, uncovered, device, got, want)
			}
		}
		return nil
	})
}

// guard expects a gate on the carriers to make the difference at hostAddr.
func (h *host) guard(carriers []string) {
	h.Helper()
	target := netip.AddrPortFrom(hostAddr.Addr(), port)
	labtest.Expect(h, h.lab.Wire, netlab.Unlisted4, target, netlab.Connected)
	gate := h.published()
	defer gate.Close()
	for _, name := range carriers {
		if at := h.attach(gate, name, loader.Native); at.Mode != loader.Native || !at.Ours {
			h.Errorf("%+v, want a native one of ours", at)
		}
	}
	labtest.Expect(h, h.lab.Wire, netlab.Listed4, target, netlab.Connected)
	labtest.Expect(h, h.lab.Wire, netlab.Unlisted4, target, netlab.Dropped)
}

// add makes a device in ns, brings it up and gives it an address.
func (h *host) add(ns *netlab.Namespace, device netlink.Link, addr netip.Prefix) {
	h.Helper()
	name := device.Attrs().Name
	if err := ns.Netlink().LinkAdd(device); err != nil {
		h.Fatalf("make %s %s: %v (does this kernel have it? see XDPALLOW_KINDS)", device.Type(), name, err)
	}
	h.must(ns.SetUp(name, true), ns.AddAddr(name, addr))
}

func (h *host) must(errs ...error) {
	h.Helper()
	for _, err := range errs {
		if err != nil {
			h.Fatal(err)
		}
	}
}

func (h *host) index(ns *netlab.Namespace) int { return labtest.Must(ns.Index("eth1"))(h.T) }

func vlan(h *host) string {
	for ns, addr := range map[*netlab.Namespace]netip.Prefix{h.lab.Host: hostAddr, h.lab.Wire: wireAddr} {
		h.add(ns, &netlink.Vlan{
			LinkAttrs: netlink.LinkAttrs{Name: "eth1.5", ParentIndex: h.index(ns)}, VlanId: 5,
		}, addr)
	}
	return "eth1.5"
}

func macvlan(h *host) string {
	h.add(h.lab.Host, &netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: "macvlan0", ParentIndex: h.index(h.lab.Host)}, Mode: netlink.MACVLAN_MODE_BRIDGE,
	}, hostAddr)
	h.must(h.lab.Wire.AddAddr("eth1", wireAddr))
	return "macvlan0"
}

func bond(h *host) string {
	device := netlink.NewLinkBond(netlink.LinkAttrs{Name: "bond0"})
	device.Mode, device.Miimon = netlink.BOND_MODE_ACTIVE_BACKUP, 10
	h.must(h.lab.Host.SetUp("eth1", false)) // a bond takes no slave that is up
	h.add(h.lab.Host, device, hostAddr)
	h.join("eth1", "bond0")
	h.must(h.lab.Host.SetUp("eth1", true), h.lab.Wire.AddAddr("eth1", wireAddr))
	return "bond0"
}

func bridge(h *host) string {
	labtest.Must(h.lab.AddLink("eth2"))(h.T)
	h.add(h.lab.Host, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}, hostAddr)
	h.join("eth1", "br0")
	h.join("eth2", "br0")
	h.must(h.lab.Wire.AddAddr("eth1", wireAddr))
	return "br0"
}

// join puts port under master.
func (h *host) join(port, master string) {
	h.Helper()
	handle := h.lab.Host.Netlink()
	slave := labtest.Must(handle.LinkByName(port))(h.T)
	h.must(handle.LinkSetMaster(slave, labtest.Must(handle.LinkByName(master))(h.T)))
}
