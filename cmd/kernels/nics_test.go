package main

// This file takes the product through what happens to a NIC, on the drivers that QEMU has
// a model for: with native XDP, and with generic XDP where the driver has no other.

import (
	"fmt"
	"net/netip"
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
	mode        string // how xdpallow attaches
	igb         bool   // a QEMU that has the model
	everyChange bool
}

var nicCases = []nicCase{
	{name: "virtio_net", kernel: "6.12", driver: "virtio_net", mode: "native", everyChange: true},
	{name: "virtio_net 2 queues", kernel: "6.12", driver: "virtio_net", mode: "native", hw: hardware{queues: 2}},
	{name: "virtio_net fixed offloads", kernel: "6.12", driver: "virtio_net", mode: "generic", hw: hardware{model: "virtio-net-pci,ctrl_guest_offloads=off"}},
	{name: "vmxnet3", kernel: "6.12", driver: "vmxnet3", mode: "native", hw: hardware{model: "vmxnet3"}, everyChange: true},
	{name: "igb", kernel: "6.12", generic: true, driver: "igb", mode: "native", igb: true, hw: hardware{model: "igb,romfile=", ports: true}, everyChange: true},
	{name: "e1000e", kernel: "6.12", generic: true, driver: "e1000e", mode: "generic", hw: hardware{model: "e1000e,romfile="}, everyChange: true},
	{name: "virtio_net", kernel: "6.1", driver: "virtio_net", mode: "native"},
	{name: "virtio_net 2 queues", kernel: "6.1", driver: "virtio_net", mode: "native", hw: hardware{queues: 2}},
	{name: "virtio_net fixed offloads", kernel: "6.1", driver: "virtio_net", mode: "generic", hw: hardware{model: "virtio-net-pci,ctrl_guest_offloads=off"}},
	{name: "vmxnet3", kernel: "6.1", driver: "vmxnet3", mode: "generic", hw: hardware{model: "vmxnet3"}},
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
	m.row.run(m.t, "attached", func(t *testing.T) {
		m.guards(t)
		if out := m.must(t, "basename $(readlink /sys/class/net/eth0/device/driver)"); strings.TrimSpace(out) != c.driver {
			t.Errorf("the driver is %s, want %s", out, c.driver)
		}
		m.attached(t, c.mode)
		m.exact(t)
	})
	act("down and up", "ip link set eth0 down && ip link set eth0 up && "+readdress)
	act("smaller MTU", "ip link set eth0 mtu 1400")
	// What a driver cannot do beside XDP, or at all, it refuses.
	act("larger MTU", "ip link set eth0 mtu 1600; ip link set eth0 mtu 1500")
	act("rings", "ethtool -G eth0 rx 128 || ethtool -G eth0 rx 256 || true")
	act("offloads", "for f in gro tso gso lro rx-gro-hw rx tx; do ethtool -K eth0 $f off; ethtool -K eth0 $f on; done; true")
	if c.hw.queues > 1 {
		act("one queue", "ethtool -L eth0 combined 1")
		act("all queues", fmt.Sprintf("ethtool -L eth0 combined %d", c.hw.queues))
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
