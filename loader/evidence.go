package loader

// This file asks whether a driver runs the program that the kernel reports attached. A
// driver can forget it when it sets its queues up anew, as that of vmxnet3 does on 6.12,
// and then only the frames tell.

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Traffic is what came in by an interface until now.
type Traffic struct {
	LinkID   uint32 // of the link that it was read under
	Received uint64 // frames, as the device says
	Counted  uint64 // frames, as our program says: it counts each that it is given
	Refused  uint64 // packets, by the backstop: a tunnel, a redirect, or no program before it
}

// enough is how many frames must be received for nothing that is counted to be evidence:
// a few may be of the time before the program, or of the driver's own.
const enough = 100

// Traffic reads the counters of the program last: what comes in meanwhile is counted and
// not received, and never the other way round.
func (g *Gate) Traffic(name string) (Traffic, error) {
	a, err := g.attachment(name)
	if err != nil {
		return Traffic{}, err
	}
	info, err := a.link.Info()
	if err != nil {
		return Traffic{}, fmt.Errorf("%s: read link: %w", name, err)
	}
	device, err := netlink.LinkByName(name)
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

// Runs says what t, read after before, proves of the program. It ran when it has counted
// a frame. It did not when it counted none, and the device has received many, or the
// backstop has refused what came in by it: never a ratio, because some frames are for
// others (RDMA), and some are joined to one before a generic program sees them. Neither is
// proven by a link that few frames come in by.
func (t Traffic) Runs(before Traffic) (ran, forgotten bool) {
	if t.LinkID != before.LinkID || t.Received < before.Received || t.Counted < before.Counted || t.Refused < before.Refused {
		return false, false // of another program, or counted from 0 again
	}
	ran = t.Counted > before.Counted
	return ran, !ran && (t.Received-before.Received > enough || t.Refused > before.Refused)
}
