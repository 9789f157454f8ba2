package main

// This file takes the product through what happens to a NIC, on the drivers that QEMU has
// a model for: with native XDP, and with generic XDP where the driver has no other.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// nicCase is a driver under a kernel.
type nicCase struct {
	name        string
	kernel      string
	generic     bool // the kernel with all drivers, not the cloud one
	hw          hardware
	driver      string
	mode        string   // how xdpallow attaches
	igb         bool     // a QEMU that has the model
	refuses     []string // acts that the driver refuses
	beyond      string   // what an MTU of 5000 is to it: refused, a problem, told (and the program may not run), or nothing
	fixed       []string // of offloads, what cannot be turned off and on
	everyChange bool
}

// offloads are what a driver may set up its queues anew for.
var offloads = []string{"gro", "tso", "gso", "lro", "rx-gro-hw", "rx", "tx"}

// virtioFixed are the offloads of virtio_net that are the host's to change.
var virtioFixed = []string{"lro", "rx-gro-hw", "rx"}

var nicCases = []nicCase{
	{
		name: "virtio_net", kernel: "6.12", driver: "virtio_net", mode: "native", everyChange: true,
		fixed: virtioFixed,
	},
	{
		name: "virtio_net 2 queues", kernel: "6.12", driver: "virtio_net", mode: "native",
		hw: hardware{queues: 2}, refuses: []string{"one queue"}, fixed: virtioFixed,
	},
	{
		name: "virtio_net fixed offloads", kernel: "6.12", driver: "virtio_net", mode: "generic",
		hw: hardware{model: "virtio-net-pci,ctrl_guest_offloads=off"}, fixed: virtioFixed,
	},
	{
		name: "vmxnet3", kernel: "6.12", driver: "vmxnet3", mode: "native", everyChange: true,
		hw: hardware{model: "vmxnet3"}, beyond: "told", fixed: []string{"lro", "rx-gro-hw"},
	},
	{
		name: "igb", kernel: "6.12", generic: true, driver: "igb", mode: "native", igb: true, everyChange: true,
		hw: hardware{model: "igb,romfile=", ports: true}, refuses: []string{"larger MTU"}, beyond: "refused",
		fixed: []string{"lro", "rx-gro-hw"},
	},
	{
		name: "e1000e", kernel: "6.12", generic: true, driver: "e1000e", mode: "generic", everyChange: true,
		hw: hardware{model: "e1000e,romfile="}, fixed: []string{"lro", "rx-gro-hw"},
	},
	{
		name: "virtio_net", kernel: "6.1", driver: "virtio_net", mode: "native",
		beyond: "problem", fixed: virtioFixed,
	},
	{
		name: "virtio_net 2 queues", kernel: "6.1", driver: "virtio_net", mode: "native",
		hw: hardware{queues: 2}, refuses: []string{"one queue"}, beyond: "problem", fixed: virtioFixed,
	},
	{
		name: "virtio_net fixed offloads", kernel: "6.1", driver: "virtio_net", mode: "generic",
		hw: hardware{model: "virtio-net-pci,ctrl_guest_offloads=off"}, fixed: virtioFixed,
	},
	{
		name: "vmxnet3", kernel: "6.1", driver: "vmxnet3", mode: "generic",
		hw: hardware{model: "vmxnet3"}, fixed: []string{"rx-gro-hw"},
	},
}

// suites are the Debian of each kernel.
var suites = map[string]string{"6.1": "bookworm", "6.12": "trixie"}

// Promise (0 leaks, 0 false drops): on each driver customers are served, strangers are
// refused and each frame is counted once, whatever becomes of the NIC.
func TestNICs(t *testing.T) {
	machines(t, true)
	t.Parallel()
	for _, c := range nicCases {
		t.Run(strings.ReplaceAll(c.kernel+" "+c.name, " ", "-"), func(t *testing.T) {
			machines(t, c.everyChange)
			t.Parallel()
			k := needed(t, architectures["amd64"], c.kernel, c.generic)
			if c.igb {
				var err error
				packageManager.Lock()
				c.hw.qemu, err = igbQEMU(t.Context())
				packageManager.Unlock()
				if err != nil {
					t.Fatal(err)
				}
			}
			m := newMachine(t, k, disk(t, suites[c.kernel], k), c.hw, record(c.kernel, c.name, c.driver, c.mode))
			m.nic(c)
		})
	}
}

// nic takes the machine through what happens to its guarded NIC.
func (m *machine) nic(c nicCase) {
	act := func(name, line string) {
		m.outside.begin(name)
		m.row.run(m.t, name, func(t *testing.T) {
			m.must(t, line)
			m.exact(t)
		})
	}
	// change is an act that some drivers refuse, beside XDP or at all.
	change := func(name, line string) {
		if slices.Contains(c.refuses, name) {
			name, line = name+" refused", "! { "+line+"; }"
		}
		act(name, line)
	}
	m.eventually(m.t, running)
	m.row.run(m.t, "attached", func(t *testing.T) {
		m.guards(t)
		if out := m.must(t, "basename $(readlink /sys/class/net/eth0/device/driver)"); strings.TrimSpace(out) != c.driver {
			t.Errorf("the driver is %s, want %s", out, c.driver)
		}
		m.attached(t, c.mode)
		m.exact(t)
	})
	act("down and up", "ip link set eth0 down && ip link set eth0 up && "+readdress)
	act("smaller MTU", setMTU(1400))
	change("larger MTU", setMTU(1600))
	m.beyond(c)
	act("usual MTU", setMTU(1500))
	change("rings", "ethtool -G eth0 rx 128 && [ $(ethtool -g eth0 | awk '/^Current/ {now = 1} now && $1 == \"RX:\" {print $2}') = 128 ]")
	m.outside.begin("offloads")
	m.row.run(m.t, "offloads", func(t *testing.T) {
		out := m.must(t, "for f in "+strings.Join(offloads, " ")+"; do { ethtool -K eth0 $f off && ethtool -K eth0 $f on; } >/dev/null 2>&1 || echo $f; done")
		if fixed := strings.Fields(out); !slices.Equal(fixed, c.fixed) {
			t.Errorf("the driver refuses to change %q, want %q", fixed, c.fixed)
		}
		m.exact(t)
	})
	if c.hw.queues > 1 {
		change("one queue", "ethtool -L eth0 combined 1")
	} else {
		// With several queues the kernel itself hangs on this (virtio_net).
		act("unbound and bound", "device=$(basename $(readlink /sys/class/net/eth0/device)); driver=$(readlink -f /sys/class/net/eth0/device/driver); "+
			"echo $device >$driver/unbind && ! [ -e /sys/class/net/eth0 ] && echo $device >$driver/bind && "+
			"until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done; ip link set eth0 up && "+readdress)
	}
	act("daemon restarted", "systemctl restart xdpallow")
	m.row.run(m.t, "still attached", func(t *testing.T) { m.attached(t, c.mode) })
	m.row.run(m.t, "detached", func(t *testing.T) {
		m.outside.shut(t)
		m.outside.hush(true)
		m.must(t, "xdpallow detach --yes")
		labtest.Expect(t, m.outside.lab.Wire, netlab.Unlisted4, netip.AddrPortFrom(segments[0].guest4.Addr(), apiPort), netlab.Connected)
	})
}

func setMTU(mtu int) string {
	return fmt.Sprintf("ip link set eth0 mtu %[1]d && [ $(cat /sys/class/net/eth0/mtu) = %[1]d ]", mtu)
}

// beyond gives the NIC an MTU whose frames fit no page. Where that is a problem, the
// command that is told ends it, and one that another daemon tells.
func (m *machine) beyond(c nicCase) {
	name, larger := "MTU beyond a page", setMTU(5000)
	switch c.beyond {
	case "refused":
		name, larger = name+" refused", "! { "+larger+"; }"
	case "problem":
		name += " is a problem"
	case "told":
		name += " is told"
	}
	m.outside.begin(name)
	m.row.run(m.t, name, func(t *testing.T) {
		m.must(t, larger)
		if c.beyond == "told" { // the driver may run the program or not; the usual MTU ends that
			m.within(t, "the MTU is told", func() error {
				if s := m.status(t); !s.has("mtu") {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
			return
		}
		m.exact(t)
		if c.beyond != "problem" {
			if s := m.status(t); s.has("mtu") {
				t.Errorf("%+v", s)
			}
			return
		}
		m.mend(t)
		m.must(t, larger+" && systemctl restart xdpallow")
		m.exact(t)
		m.mend(t)
		m.exact(t)
	})
}

// mend runs the command that the problem mtu tells, and waits for its end.
func (m *machine) mend(t *testing.T) {
	t.Helper()
	told := false
	m.within(t, "the MTU is a problem, and none after the command that is told", func() error {
		s := m.status(t)
		at := slices.IndexFunc(s.Problems, func(p problem) bool { return p.Code == "mtu" })
		if at >= 0 && !told {
			m.must(t, s.Problems[at].Hint)
			told = true
		}
		if at >= 0 || !told {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// readdress sets what a NIC loses that goes down. systemd does so too, some time, and may
// take away again what it did not set.
var readdress = fmt.Sprintf("until ip addr replace %s dev eth0 && ip addr replace %s dev eth0 nodad && "+
	"ip route replace default via %s dev eth0 proto static && ip -6 route replace default via %s dev eth0 proto static metric 1024; do sleep 0.2; done",
	segments[0].guest4, segments[0].guest6, segments[0].outside4.Addr(), segments[0].outside6.Addr())

// attached waits until the NIC is guarded in that mode; a generic one says why.
func (m *machine) attached(t *testing.T, mode string) {
	t.Helper()
	m.within(t, "eth0 is attached", func() error {
		s := m.status(t)
		if len(s.Interfaces) != 1 || s.Interfaces[0].Name != "eth0" || s.Interfaces[0].Attach != mode {
			return fmt.Errorf("%+v, want %s", s.Interfaces, mode)
		}
		if mode == "generic" && s.Interfaces[0].Reason == "" {
			return fmt.Errorf("%+v: no reason why not native", s.Interfaces)
		}
		return nil
	})
}
