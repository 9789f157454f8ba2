package loader

// This file finds out whether a driver runs the program that the kernel reports as attached. A
// driver can forget it when it sets its queues up again, as that of vmxnet3 does on Linux 6.12.
// Only the counts of frames show it.

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Traffic is what has come in by an interface.
type Traffic struct {
	LinkID   uint32 // the link that was attached when it was read
	Received uint64 // frames that the device counted
	Counted  uint64 // frames that our program counted: it counts each one that it is given
	Refused  uint64 // packets that the backstop refused: from a tunnel, a redirect, or because no program ran
}

// enough is how many frames a device must receive, while our program counts none, to prove
// that the program does not run. A few can be from before it was attached, or the driver's own.
const enough = 100

// Traffic reads what has come in by an attached interface. It reads the program's count last, so
// that a frame that comes in meanwhile can be counted and not received, and never the reverse.
func (g *Gate) Traffic(name string) (Traffic, error) {
	return g.traffic(name, func() (netlink.Link, error) { return netlink.LinkByName(name) })
}

// TrafficIn is Traffic with what the device had received when it was dumped.
func (g *Gate) TrafficIn(dump netdev.Interfaces, name string) (Traffic, error) {
	return g.traffic(name, func() (netlink.Link, error) { return dump.Device(name) })
}

func (g *Gate) traffic(name string, ask func() (netlink.Link, error)) (Traffic, error) {
	a, give, err := g.borrow(name)
	if err != nil {
		return Traffic{}, err
	}
	defer give()
	info, err := a.link.Info()
	if err != nil {
		return Traffic{}, fmt.Errorf("%s: read link: %w", name, err)
	}
	device, err := ask()
	if err != nil {
		return Traffic{}, netdev.NotFound(name, err)
	}
	t := Traffic{LinkID: uint32(info.ID)}
	if t.Refused, err = g.Tables.RefusedFrom(device.Attrs().Index); err != nil {
		return Traffic{}, fmt.Errorf("%s: %w", name, err)
	}
	if s := device.Attrs().Statistics; s != nil {
		t.Received = s.RxPackets
	}
	t.Counted, err = a.counters.Packets()
	return t, err
}

// Runs tells what t, which was read after before, proves about the program. Ran: it has counted
// a frame. Forgotten: it has counted none, though the device has received many or the backstop
// has refused some. Both are false while too few frames come in. No ratio is used, because some
// frames bypass every program (RDMA), and some are merged before a generic program sees them.
func (t Traffic) Runs(before Traffic) (ran, forgotten bool) {
	if t.LinkID != before.LinkID || t.Received < before.Received || t.Counted < before.Counted || t.Refused < before.Refused {
		return false, false // another program, or counters that began again at 0
	}
	ran = t.Counted > before.Counted
	return ran, !ran && (t.Received-before.Received > enough || t.Refused > before.Refused)
}
