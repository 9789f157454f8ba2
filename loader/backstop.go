package loader

// This file guards the socket lookups of the network namespace with the backstop, a program
// that refuses what comes in past the guarded interfaces.

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Backstop is how the socket lookups of this network namespace are guarded.
type Backstop struct {
	LinkID    uint32
	ProgramID uint32 // what the link runs
	Attached  bool
	Ours      bool // that is the program that we loaded
}

// backstop is the key of the backstop among the attachments; the others are interfaces.
const backstop = pins.Backstop

// AttachBackstop guards the socket lookups of this network namespace. If our link is pinned
// already, it goes on with the new program and without a gap.
func (g *Gate) AttachBackstop() error {
	made, err := g.programsFor(backstop)
	if err != nil {
		return fmt.Errorf("backstop: %w", err)
	}
	if made.link, err = g.linkBackstop(made); err != nil {
		return errors.Join(fmt.Errorf("backstop: %w", err), made.close())
	}
	if err := g.pinPrograms(backstop, made); err != nil {
		return errors.Join(err, made.close())
	}
	g.hold(backstop, made)
	return g.NoteBackstop()
}

// NoteBackstop tells the XDP programs whether the backstop is attached: without it they drop
// more, because nobody judges what a tunnel carries.
func (g *Gate) NoteBackstop() error { return g.Tables.SetBackstop(g.BackstopStands()) }

// BackstopStands reports whether the pinned link of the backstop is attached in this network
// namespace and runs a program that is pinned for it.
func (g *Gate) BackstopStands() bool {
	info, err := pinnedInfo(g.pins.Link(backstop))
	if err != nil || !inThisNamespace(info) {
		return false
	}
	// A program of another schema counts: its own tables have the same list.
	for _, path := range g.pins.Programs(backstop) {
		program, err := ebpf.LoadPinnedProgram(path, nil)
		if err != nil {
			continue
		}
		id, err := pins.ID(program)
		program.Close()
		if err == nil && id == uint32(info.Program) {
			return true
		}
	}
	return false
}

// linkBackstop makes the pinned link run the program of made, or makes and pins a link. A link
// whose namespace has ended is replaced.
func (g *Gate) linkBackstop(made *attachment) (link.Link, error) {
	path := g.pins.Link(backstop)
	info, err := pinnedInfo(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err == nil && inThisNamespace(info) {
		pinned, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return nil, fmt.Errorf("load pinned link: %w", pins.Explain(path, err))
		}
		if err := g.swap(backstop, pinned, made.program); err != nil {
			pinned.Close()
			return nil, err
		}
		return pinned, nil
	}
	ns, err := os.Open(netdev.NamespaceFile)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	defer ns.Close()
	l, err := link.AttachNetNs(int(ns.Fd()), made.program)
	if err != nil {
		return nil, fmt.Errorf("attach to the socket lookups: %w", err)
	}
	if err := pins.Put(path, l); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (g *Gate) hasBackstop() bool {
	_, err := os.Stat(g.pins.Link(backstop))
	return err == nil
}

// inThisNamespace reports whether a link guards the network namespace of the calling thread.
func inThisNamespace(info *link.Info) bool {
	inode := namespaceOf(info)
	return inode != 0 && inode == netdev.Namespace()
}

// Backstop asks the kernel how the socket lookups are guarded now. It is the zero Backstop when
// this gate has none.
func (g *Gate) Backstop() (Backstop, error) {
	a, give, err := g.borrow(backstop)
	if err != nil {
		return Backstop{}, nil
	}
	defer give()
	info, err := a.link.Info()
	if err != nil {
		return Backstop{}, fmt.Errorf("backstop: read link: %w", err)
	}
	loaded, err := pins.ID(a.program)
	if err != nil {
		return Backstop{}, fmt.Errorf("backstop: read program: %w", err)
	}
	return Backstop{
		LinkID: uint32(info.ID), ProgramID: uint32(info.Program),
		Attached: inThisNamespace(info), Ours: loaded == uint32(info.Program),
	}, nil
}

// DetachBackstop takes the backstop off and removes its pins; its counters end.
func (g *Gate) DetachBackstop() error { return g.Detach(backstop) }

// skLookup is struct bpf_sk_lookup of linux/bpf.h.
type skLookup struct {
	Cookie         uint64
	Family         uint32
	Protocol       uint32
	RemoteIP4      [4]byte
	RemoteIP6      [16]byte
	RemotePort     [2]byte // network byte order
	_              [2]byte
	LocalIP4       [4]byte
	LocalIP6       [16]byte
	LocalPort      uint32 // host byte order
	IngressIfindex uint32
	_              [4]byte
}

// AskBackstop reports whether the backstop would refuse that source opens port, in a packet
// that came in by no interface. It runs the shadow program: nothing is counted.
func (g *Gate) AskBackstop(source netip.Addr, tcp bool, port uint16) (refused bool, err error) {
	a, give, err := g.borrow(backstop)
	if err != nil {
		return false, err
	}
	defer give()
	ctx := skLookup{Family: unix.AF_INET6, Protocol: unix.IPPROTO_UDP, LocalPort: uint32(port)}
	if tcp {
		ctx.Protocol = unix.IPPROTO_TCP
	}
	if source.Is4() {
		ctx.Family, ctx.RemoteIP4 = unix.AF_INET, source.As4()
	} else {
		ctx.RemoteIP6 = source.As16()
	}
	verdict, err := a.shadow.Run(&ebpf.RunOptions{Context: ctx})
	if err != nil {
		return false, fmt.Errorf("run the shadow program of the backstop: %w", err)
	}
	return verdict == 0, nil
}
