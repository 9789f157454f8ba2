package loader

// This file attaches programs to interfaces, and tells how each interface is guarded.

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/needs"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Mode is how a program is attached to an interface.
type Mode string

// Native runs in the driver. Generic runs after the kernel has allocated the packet: the same
// verdicts at a multiple of the cost. Auto tries native first, and says why it became generic;
// the kernel's own default would become generic without a word.
const (
	Auto    Mode = "auto"
	Native  Mode = "native"
	Generic Mode = "generic"
)

// Attachment is how an interface is guarded.
type Attachment struct {
	Interface string
	Mode      Mode // Native or Generic; "" when not attached
	MTU       int
	Reason    string // why it is not native, when native was tried
	LinkID    uint32
	ProgramID uint32        // what the link runs
	Ours      bool          // that is the program that we loaded
	Adopted   bool          // Attach found the link, and did not make it
	Kept      *RefusedError // why it runs the program of the daemon before, or nil
	Late      int           // queues that were added after the program, and may run none
	Refused   uint64        // packets that came in by it, passed the program, and were refused by the backstop
}

// ForeignError says that another XDP program holds the interface.
type ForeignError struct {
	Interface string
	ProgramID uint32
	Name      string // "" where the caller may not ask
	Err       error
}

func (e *ForeignError) Error() string {
	name := ""
	if e.Name != "" {
		name = " (" + e.Name + ")"
	}
	return fmt.Sprintf("%s: another XDP program holds it: id %d%s", e.Interface, e.ProgramID, name)
}

func (e *ForeignError) Unwrap() error { return e.Err }

// Hint is the command that shows the other program.
func (e *ForeignError) Hint() string {
	return "bpftool net show dev " + e.Interface
}

// ModeError says that our pinned link is attached in another mode than the caller wants.
type ModeError struct {
	Interface  string
	Have, Want Mode
	Flags      string // for Hint: the flags with which detach finds this gate, "" at the defaults
}

func (e *ModeError) Error() string {
	return fmt.Sprintf("%s: attached %s, asked for %s; the change opens the gate for a moment", e.Interface, e.Have, e.Want)
}

// Hint is the command after which it can be attached in the other mode.
func (e *ModeError) Hint() string {
	return strings.TrimSpace("xdpallow detach --yes --interface " + e.Interface + " " + e.Flags)
}

// Attach guards the interface and pins what guards it. If our link is pinned already, it goes
// on with the new program and without a gap. Returns *ForeignError, *ModeError,
// *RefusedError, *netdev.FramingError, or an error that is os.ErrNotExist when there is no such
// interface.
func (g *Gate) Attach(name string, mode Mode) (_ Attachment, err error) {
	defer func() { err = needs.Explain(err) }()
	device, err := netlink.LinkByName(name)
	if err != nil {
		return Attachment{}, netdev.NotFound(name, err)
	}
	if adopted, err := g.adopt(name, mode); err != nil || adopted.Adopted {
		return adopted, err
	}
	made, err := g.programsFor(name)
	if err != nil {
		return Attachment{}, withName(name, err)
	}
	if made.link, made.reason, err = attachBest(made.program, device, mode); err != nil {
		return Attachment{}, errors.Join(err, made.close())
	}
	if err := g.pinAll(name, made); err != nil {
		return Attachment{}, errors.Join(err, made.close())
	}
	g.hold(name, made)
	if err := g.pins.KeepReason(name, made.reason); err != nil {
		return Attachment{}, err
	}
	return g.Inspect(name)
}

// withName adds the name of the interface to an error that does not have it.
func withName(name string, err error) error {
	if _, ok := errors.AsType[*netdev.FramingError](err); ok {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// pinAll pins a new attachment, the link last, so that a pinned link always has its programs
// beside it. If it fails, only the counters stay pinned, which outlive every attachment, and
// the program is taken off when the caller closes the link.
func (g *Gate) pinAll(name string, made *attachment) error {
	err := g.pinPrograms(name, made)
	if err == nil {
		err = pins.Put(g.pins.Link(name), made.link)
	}
	if err != nil {
		err = errors.Join(err, g.unpinPrograms(name))
	}
	return err
}

// attachBest attaches program natively, or generically when the driver refuses and the mode is
// Auto. The reason is why it is not native.
func attachBest(program *ebpf.Program, device netlink.Link, mode Mode) (link.Link, string, error) {
	name, index := device.Attrs().Name, device.Attrs().Index
	var reason string
	if mode != Generic {
		l, err := attachNative(program, index)
		switch {
		case err == nil:
			return l, "", nil
		case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST):
			return nil, "", foreign(name, err)
		case errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV):
			return nil, "", fmt.Errorf("%s: attach: %w", name, err)
		}
		reason = netdev.Refusal(device, refusal(device, program), err)
		if mode == Native {
			return nil, "", &RefusedError{Interface: name, MTU: device.Attrs().MTU, Cause: reason, Err: err}
		}
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: link.XDPGenericMode})
	switch {
	case err == nil:
		return l, reason, nil
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST):
		return nil, "", foreign(name, err)
	}
	return nil, "", fmt.Errorf("%s: attach: %w", name, err)
}

// setupTime is how long native attachment is tried again while the interface is down. The
// queues and offloads of a new interface are often set up a moment after it appears; a generic
// program would stay for good, and no packet comes in meanwhile.
const setupTime = 300 * time.Millisecond

// attachNative attaches program in the driver.
func attachNative(program *ebpf.Program, index int) (link.Link, error) {
	for deadline := time.Now().Add(setupTime); ; time.Sleep(5 * time.Millisecond) {
		l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: link.XDPDriverMode})
		if err == nil || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			return l, err
		}
		device, lookUp := netlink.LinkByIndex(index)
		if lookUp != nil || device.Attrs().Flags&net.FlagUp != 0 || time.Now().After(deadline) {
			return nil, err
		}
	}
}

// foreign returns the *ForeignError for an interface that another program holds.
func foreign(name string, err error) error {
	e := &ForeignError{Interface: name, Err: err}
	if device, err := netlink.LinkByName(name); err == nil && device.Attrs().Xdp != nil {
		e.ProgramID = device.Attrs().Xdp.ProgId
	}
	e.Name = programName(e.ProgramID)
	return e
}

// hold makes a the attachment of name, and closes the handles of the one before.
func (g *Gate) hold(name string, a *attachment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old := g.attached[name]; old != nil {
		old.close()
	}
	g.attached[name] = a
}

// Inspect asks the kernel how an attached interface is guarded now. The Mode is "" when our link
// is not attached to the interface any more. Returns an error that is os.ErrNotExist when the
// interface is gone, or *netdev.FramingError.
func (g *Gate) Inspect(name string) (Attachment, error) {
	return g.inspect(name, func() (netlink.Link, error) { return netlink.LinkByName(name) })
}

// InspectIn is Inspect with what a dump says of the interface. Links are asked now, so an
// interface that was attached or made again since the dump is not told as attached: to be
// sure of one that is not, ask Inspect.
func (g *Gate) InspectIn(dump netdev.Interfaces, name string) (Attachment, error) {
	return g.inspect(name, func() (netlink.Link, error) { return dump.Device(name) })
}

func (g *Gate) inspect(name string, ask func() (netlink.Link, error)) (Attachment, error) {
	a, give, err := g.borrow(name)
	if err != nil {
		return Attachment{Interface: name}, err
	}
	defer give()
	at := Attachment{Interface: name, Reason: a.reason}
	info, err := a.link.Info()
	if err != nil {
		return at, fmt.Errorf("%s: read link: %w", name, err)
	}
	at.LinkID, at.ProgramID = uint32(info.ID), uint32(info.Program)
	loaded, err := pins.ID(a.program)
	if err != nil {
		return at, fmt.Errorf("%s: read program: %w", name, err)
	}
	at.Ours = loaded == at.ProgramID
	device, err := ask()
	if err != nil {
		return at, netdev.NotFound(name, err)
	}
	// A link that was detached, or whose interface was deleted, has no interface. An interface
	// that was made again has another index than the link.
	if x := info.XDP(); x == nil || int(x.Ifindex) != device.Attrs().Index {
		return at, nil
	}
	// After a change of the link type our program reads frames wrongly: it must be replaced by
	// the one for the other frame format.
	if ipFirst, err := netdev.BeginsWithIP(device); err != nil || ipFirst != a.ipFirst {
		return at, err
	}
	if at.Refused, err = g.Tables.RefusedFrom(device.Attrs().Index); err != nil {
		return at, fmt.Errorf("%s: %w", name, err)
	}
	at.MTU = device.Attrs().MTU
	if at.Mode = modeOf(device); at.Mode == Native {
		at.Late = int(max(0, netdev.VethQueues(name)-a.queues.Load()))
	}
	return at, nil
}

func modeOf(device netlink.Link) Mode {
	xdp := device.Attrs().Xdp
	switch {
	case xdp == nil || !xdp.Attached:
		return ""
	case xdp.AttachMode == nl.XDP_ATTACHED_SKB:
		return Generic
	}
	return Native
}
