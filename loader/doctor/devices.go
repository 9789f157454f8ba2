package doctor

// This file judges interfaces, and the ways in beside them.

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/repair"
)

// device judges one interface to guard. Where nobody named one, what speaks against it is
// a note.
func (d *diagnosis) device(at Device) {
	bad := Problem
	if len(d.f.Interfaces) == 0 {
		bad = Note
	}
	var foreign *loader.ForeignError
	taken := errors.As(at.Err, &foreign)
	switch {
	case at.Ours || taken && d.guards(at):
		d.guarded(at)
	case taken && !d.f.Privileged: // the pins that would tell are root's
		d.add(Note, "interface_taken", at.Name, AsRoot, "has XDP program %d, ours or another's", at.ProgramID)
	case at.Err != nil:
		d.problems(bad, repair.NotAttached(at.Name, at.Err))
	default:
		d.free(at)
	}
	if at.Err == nil && !at.Up {
		d.add(Note, "interface_down", at.Name, "ip link set dev "+at.Name+" up", "is down")
	}
}

// reported returns what the gate says of an interface.
func (d *diagnosis) reported(name string) (api.Interface, bool) {
	if d.f.Status == nil {
		return api.Interface{}, false
	}
	i := slices.IndexFunc(d.f.Status.Interfaces, func(i api.Interface) bool { return i.Name == name && i.Attached })
	if i < 0 {
		return api.Interface{}, false
	}
	return d.f.Status.Interfaces[i], true
}

// guards reports whether the program of an interface is that of the gate that was asked:
// not everybody may look at its pins.
func (d *diagnosis) guards(at Device) bool {
	reported, found := d.reported(at.Name)
	return found && reported.ProgramID == at.ProgramID
}

func (d *diagnosis) guarded(at Device) {
	if at.Attached == loader.Native {
		d.add(OK, "interface", at.Name, "", "guarded, native; %s", about(at))
		return
	}
	reported, _ := d.reported(at.Name)
	d.slow(Note, at, "ethtool -i "+at.Name, reported.Reason)
}

// slow says what generic XDP costs, and why it is no better.
func (d *diagnosis) slow(state State, at Device, hint, reason string) {
	text := repair.GenericCost
	if reason != "" {
		text += ": " + reason
	}
	d.add(state, "generic", at.Name, hint, "%s", text)
}

// free judges an interface that has no program yet.
func (d *diagnosis) free(at Device) {
	refused := Note
	if d.f.Attach == loader.Native { // it would not start
		refused = Problem
	}
	try := "xdpallow doctor --try --interface " + at.Name
	switch {
	case d.f.Attach == loader.Generic:
		d.add(OK, "interface", at.Name, "", "nothing holds it; %s", about(at))
	case at.Tried && errors.Is(at.Trial, os.ErrPermission):
		d.add(Note, "native", at.Name, "sudo "+try, "could not be tried: %s", strings.TrimPrefix(at.Trial.Error(), at.Name+": "))
	case at.Tried && at.Trial != nil:
		d.slow(refused, at, "ethtool -i "+at.Name, strings.TrimPrefix(at.Trial.Error(), at.Name+": "))
	case at.Tried:
		d.add(OK, "native", at.Name, "", "native XDP was tried, and holds; %s", about(at))
	case at.Declares == nil:
		d.add(Note, "native", at.Name, try, "this kernel does not tell whether its driver has native XDP; %s", about(at))
	case !at.Declares.Runs:
		d.slow(refused, at, "ethtool -i "+at.Name, "the driver declares no native XDP; "+about(at))
	default:
		d.add(OK, "native", at.Name, "", "the driver declares native XDP; %s", about(at))
		d.doubts(at, try)
	}
}

// doubts notes what makes drivers that have native XDP refuse it.
func (d *diagnosis) doubts(at Device, try string) {
	if at.MTU > netdev.Page && !at.Declares.Large {
		d.add(Note, "mtu", at.Name, try, "an MTU of %d does not fit a page, for which the driver may refuse native XDP", at.MTU)
	}
	for _, offload := range at.Offloads {
		hint := fmt.Sprintf("ethtool -K %s %s off", at.Name, offload.Name)
		if offload.Fixed {
			hint = try
		}
		d.add(Note, "offload", at.Name, hint, "%s, for which the driver may refuse native XDP", offload)
	}
}

// about describes an interface: driver, MTU, queues.
func about(at Device) string {
	text := fmt.Sprintf("%s, MTU %d", at.Driver, at.MTU)
	switch {
	case at.Queues == 1:
		text += ", 1 queue"
	case at.Queues > 1:
		text += fmt.Sprintf(", %d queues", at.Queues)
	}
	return text
}

// beside notes the interfaces that nobody guards, and those that are not to be guarded.
func (d *diagnosis) beside() {
	for _, name := range d.f.Routed {
		d.add(Note, "routed", name, "ip -br address show dev "+name, "%s", api.LeadsGuests)
	}
	for _, name := range d.f.Uncovered {
		if slices.Contains(d.f.Routed, name) {
			continue
		}
		text := "nobody guards it: what comes in by it is refused by the backstop alone"
		if d.f.NoBackstop {
			text = "nobody guards it, and there is no backstop: everything passes there"
		}
		d.add(Note, "uncovered", name, "ip -br address show dev "+name, "%s", text)
	}
}

// lookups notes the programs that can overrule the backstop.
func (d *diagnosis) lookups() {
	state := Problem
	if d.f.NoBackstop {
		state = Note
	}
	switch {
	case errors.Is(d.f.LookupsErr, os.ErrPermission):
		d.unknown("backstop", "backstop", "", "whether others are at the socket lookups", d.f.LookupsErr)
	case d.f.LookupsErr != nil || len(d.f.Lookups) > 0:
		d.problems(state, repair.OtherLookups(d.f.Lookups, d.f.LookupsErr)...)
	case d.f.NoBackstop:
		d.add(Note, "backstop", "backstop", "restart with --backstop on", "is off: what comes in beside the guarded interfaces passes")
	default:
		d.add(OK, "backstop", "backstop", "", "no program of others is at the socket lookups")
	}
}
