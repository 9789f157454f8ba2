// Package netdev tells which interfaces, addresses and queues the network namespace of the
// calling thread has, and when they change. It attaches nothing and knows no gate.
package netdev

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
)

// Interfaces are the interfaces of one network namespace and their addresses at one moment.
// They do not change; call [Read] again to learn what is there now.
type Interfaces struct {
	links     []netlink.Link
	addresses []netlink.Addr
	byIndex   map[int]netlink.Link
	ports     map[int][]netlink.Link // by the index of their master
}

// Read asks the kernel for all interfaces and addresses, in two dumps. A dump that a change
// interrupts is taken again, because it may have lost what it should list.
func Read() (Interfaces, error) {
	links, err := again(netlink.LinkList)
	if err != nil {
		return Interfaces{}, fmt.Errorf("list interfaces: %w", err)
	}
	addresses, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return Interfaces{}, fmt.Errorf("list addresses: %w", err)
	}
	return newInterfaces(links, addresses), nil
}

func newInterfaces(links []netlink.Link, addresses []netlink.Addr) Interfaces {
	i := Interfaces{links: links, addresses: addresses, byIndex: map[int]netlink.Link{}, ports: map[int][]netlink.Link{}}
	for _, l := range links {
		a := l.Attrs()
		i.byIndex[a.Index] = l
		if a.MasterIndex != 0 {
			i.ports[a.MasterIndex] = append(i.ports[a.MasterIndex], l)
		}
	}
	return i
}

// Device returns the interface of a name. Returns netlink.LinkNotFoundError when there is none.
func (i Interfaces) Device(name string) (netlink.Link, error) {
	for _, l := range i.links {
		if l.Attrs().Name == name {
			return l, nil
		}
	}
	return nil, netlink.LinkNotFoundError{}
}

// Carriers returns the names of the interfaces by which all packets for name come in, sorted,
// as far as a native program can see them: a bond instead of its slave, the lower device
// instead of a VLAN or macvlan, all ports instead of their bridge. The error is
// os.ErrNotExist when there is no such interface. The loopback interface is refused.
func (i Interfaces) Carriers(name string) ([]string, error) {
	at := slices.IndexFunc(i.links, func(l netlink.Link) bool {
		return l.Attrs().Name == name || slices.Contains(l.Attrs().AltNames, name)
	})
	if at < 0 {
		return nil, NotFound(name, netlink.LinkNotFoundError{})
	}
	if i.links[at].Attrs().Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("interface %s: it is the loopback interface, by which the host's own clients come in", name)
	}
	var names []string
	i.carriers(i.links[at], 8, &names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// GuardedBy returns which of the linked interfaces the names mean: by the name itself, by an
// alternative name, or as the ports of a bridge. Unguarded is the first name that means none
// of them, or "". The kernel is asked only about names that are not linked themselves.
func GuardedBy(names, linked []string) (guarded []string, unguarded string) {
	for _, name := range names {
		carriers := []string{name}
		if !slices.Contains(linked, name) {
			now, _ := Read() // what cannot be read has no interfaces, and guards nothing
			carriers, _ = now.Carriers(name)
		}
		carriers = slices.DeleteFunc(carriers, func(carrier string) bool { return !slices.Contains(linked, carrier) })
		if len(carriers) == 0 {
			return nil, name
		}
		guarded = append(guarded, carriers...)
	}
	return guarded, ""
}

// carriers appends to names the interfaces that carry the packets of l. At most depth
// devices are followed, so that devices that lead to each other end.
func (i Interfaces) carriers(l netlink.Link, depth int, names *[]string) {
	a := l.Attrs()
	if depth > 0 {
		if master := i.byIndex[a.MasterIndex]; master != nil && master.Type() == "bond" {
			i.carriers(master, depth-1, names)
			return
		}
		switch l.Type() {
		case "vlan", "macvlan", "ipvlan":
			// A lower device in another namespace cannot be guarded from here.
			if lower := i.byIndex[a.ParentIndex]; lower != nil && a.NetNsID < 0 {
				i.carriers(lower, depth-1, names)
				return
			}
		case "bridge":
			before := len(*names)
			for _, port := range i.ports[a.Index] {
				i.carriers(port, depth-1, names)
			}
			if len(*names) > before {
				return
			}
		}
	}
	*names = append(*names, a.Name)
}

// NotFound is err of a lookup of an interface by name, with the name. It is os.ErrNotExist
// when there is no such interface.
func NotFound(name string, err error) error {
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return fmt.Errorf("interface %s: %w", name, os.ErrNotExist)
	}
	return fmt.Errorf("look up interface %s: %w", name, err)
}

// again takes a dump until no change has interrupted it, 30 times at most.
func again[T any](dump func() ([]T, error)) (list []T, err error) {
	for range 30 {
		if list, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return list, err
}
