package loader

// This file handles a driver that refuses our program. If its link runs the program of an
// earlier daemon, that one goes on: the gate stays shut, and the operator learns what to change.

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// RefusedError says that a driver refused our program.
type RefusedError struct {
	Interface string
	MTU       int    // in bytes
	Cause     string // why, in words
	Former    bool   // the program of an earlier daemon goes on
	Err       error  // the kernel's
}

func (e *RefusedError) Error() string {
	if e.Former {
		return fmt.Sprintf("%s: its driver refuses our program, the one before stays: %s", e.Interface, e.Cause)
	}
	return fmt.Sprintf("%s: native XDP is unavailable: %s", e.Interface, e.Cause)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Hint is the command after which the driver may accept it, or which shows the driver.
func (e *RefusedError) Hint() string {
	if e.MTU > netdev.Page {
		return fmt.Sprintf("ip link set dev %s mtu %d", e.Interface, netdev.Page)
	}
	return "ethtool -i " + e.Interface
}

// notUpdated returns err of an update of a link as a *RefusedError when the driver is the cause.
func notUpdated(name string, err error) error {
	device, lookUp := netlink.LinkByName(name)
	if lookUp != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ERANGE, unix.EOPNOTSUPP, unix.ENOMEM, unix.ENOSPC} {
		if errors.Is(err, errno) {
			return &RefusedError{Interface: name, MTU: device.Attrs().MTU, Cause: netdev.Refusal(device, "", err), Former: true, Err: err}
		}
	}
	return fmt.Errorf("%s: %w", name, err)
}

// keep goes on with the pinned program of an earlier daemon, after the driver refused ours. That
// works if the program is of this schema: it judges by the tables that we fill, and its shadow
// program can be asked. Otherwise keep returns refused.
func (g *Gate) keep(name string, refused error) (Attachment, error) {
	var e *RefusedError
	if !errors.As(refused, &e) {
		return Attachment{}, refused
	}
	former, err := g.load(name)
	if err != nil {
		return Attachment{}, refused // nothing of this schema is pinned
	}
	if !former.runs() {
		former.close()
		return Attachment{}, refused
	}
	g.hold(name, former)
	at, err := g.Inspect(name)
	at.Adopted, at.Kept = true, e
	return at, err
}

// runs reports whether the link of a runs its program.
func (a *attachment) runs() bool {
	info, err := a.link.Info()
	if err != nil {
		return false
	}
	id, err := pins.ID(a.program)
	return err == nil && id == uint32(info.Program)
}
