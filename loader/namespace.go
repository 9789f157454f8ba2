package loader

// This file keeps a gate in its network namespace. Names and indexes of interfaces belong to one
// namespace. A daemon in another one, with the same pin root, would take them for other
// interfaces and remove the pins of those that are guarded.

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// NamespaceError says that the gate under Root guards another network namespace than that of
// the caller.
type NamespaceError struct {
	Root       string
	Interfaces []string // that it guards there
	Namespace  string   // its file in /run/netns, or net:[INODE]; "" when it is unknown
}

func (e *NamespaceError) Error() string {
	where := ""
	if e.Namespace != "" {
		where = " (" + e.Namespace + ")"
	}
	return fmt.Sprintf("the gate under %s guards %v of another network namespace%s; a gate of this one needs a --bpffs of its own", e.Root, e.Interfaces, where)
}

// Hint is the command that enters the namespace, or lists the namespaces if it has no file.
func (e *NamespaceError) Hint() string {
	if !filepath.IsAbs(e.Namespace) {
		return "lsns -t net"
	}
	return "nsenter --net=" + e.Namespace + " xdpallow status --bpffs " + e.Root
}

// checkNamespace returns *NamespaceError when the gate belongs to another network namespace. The
// link of the backstop knows its namespace. Without a backstop, at least one of the links that
// are still attached must be attached here.
func (g *Gate) checkNamespace() error {
	linked, err := g.Linked()
	if err != nil {
		return err
	}
	// Who needs a link that cannot be opened reports it.
	if info, err := pinnedInfo(g.pins.Link(backstop)); err == nil && namespaceOf(info) != 0 {
		if inode := namespaceOf(info); inode != netdev.Namespace() {
			return &NamespaceError{Root: string(g.pins), Interfaces: linked, Namespace: netdev.NamespaceName(inode)}
		}
		return nil
	}
	var away []string
	for _, name := range linked {
		pinned, err := link.LoadPinnedLink(g.pins.Link(name), nil)
		if err != nil {
			continue
		}
		device, attached, err := deviceOf(pinned)
		pinned.Close()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case device != nil:
			return nil
		case attached:
			away = append(away, name)
		}
	}
	if len(away) > 0 {
		return &NamespaceError{Root: string(g.pins), Interfaces: away}
	}
	return nil
}

// deviceOf returns the interface of this namespace that a link is attached to: the one that has
// its index and runs its program; nil when there is none. Attached is false when the link has
// lost its interface, in whichever namespace that was.
func deviceOf(l link.Link) (device netlink.Link, attached bool, err error) {
	info, err := l.Info()
	if err != nil {
		return nil, false, fmt.Errorf("read pinned link: %w", err)
	}
	x := info.XDP()
	if x == nil || x.Ifindex == 0 {
		return nil, false, nil
	}
	device, err = netlink.LinkByIndex(int(x.Ifindex))
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil, true, nil
	}
	if err != nil {
		return nil, true, fmt.Errorf("look up interface %d: %w", x.Ifindex, err)
	}
	if runs := device.Attrs().Xdp; runs == nil || runs.ProgId != uint32(info.Program) {
		return nil, true, nil
	}
	return device, true, nil
}

// pinnedInfo asks the kernel about a pinned link. The error is os.ErrNotExist when nothing is
// pinned there.
func pinnedInfo(path string) (*link.Info, error) {
	pinned, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return nil, fmt.Errorf("load pinned link: %w", pins.Explain(path, err))
	}
	defer pinned.Close()
	info, err := pinned.Info()
	if err != nil {
		return nil, fmt.Errorf("read pinned link: %w", err)
	}
	return info, nil
}

// namespaceOf returns the inode of the network namespace that a link guards; 0 when that has
// ended, and for the link of an interface.
func namespaceOf(info *link.Info) uint64 {
	if ns := info.NetNs(); ns != nil {
		return uint64(ns.NetnsInode)
	}
	return 0
}
