// Package netdev tells which interfaces, addresses and queues this network namespace has,
// and when that changes. It attaches nothing and knows no gate: what it says, it says of
// the network namespace of the calling thread.
package netdev

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
)

// Resolve returns the interfaces that packets for name come in by, where a native
// program can see them all: a bond instead of its slave, the lower device instead
// of a VLAN or macvlan, all ports instead of their bridge. Returns an error that is
// os.ErrNotExist when there is no such interface.
func Resolve(name string) ([]string, error) {
	links, err := interfaces()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(links, func(l netlink.Link) bool {
		return l.Attrs().Name == name || slices.Contains(l.Attrs().AltNames, name)
	})
	if i < 0 {
		return nil, NotFound(name, netlink.LinkNotFoundError{})
	}
	if links[i].Attrs().Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("interface %s: it is the loopback interface, by which the host's own clients come in", name)
	}
	var names []string
	indexed(links).resolve(links[i], 8, &names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// GuardedBy returns which of the linked interfaces names stand for: by their names, by
// other names, or as ports of a bridge. The first name that stands for none is unguarded.
func GuardedBy(names, linked []string) (guarded []string, unguarded string) {
	for _, name := range names {
		carriers := []string{name}
		if !slices.Contains(linked, name) {
			carriers, _ = Resolve(name) // what is not there guards nothing
		}
		carriers = slices.DeleteFunc(carriers, func(carrier string) bool { return !slices.Contains(linked, carrier) })
		if len(carriers) == 0 {
			return nil, name
		}
		guarded = append(guarded, carriers...)
	}
	return guarded, ""
}

// devices are those of this namespace, found by what others say of them.
type devices struct {
	byIndex map[int]netlink.Link
	ports   map[int][]netlink.Link // by the index of their master
}

func indexed(links []netlink.Link) devices {
	d := devices{map[int]netlink.Link{}, map[int][]netlink.Link{}}
	for _, l := range links {
		a := l.Attrs()
		d.byIndex[a.Index] = l
		if a.MasterIndex != 0 {
			d.ports[a.MasterIndex] = append(d.ports[a.MasterIndex], l)
		}
	}
	return d
}

// resolve follows l to what carries its packets; depth bounds a loop of devices.
func (d devices) resolve(l netlink.Link, depth int, names *[]string) {
	a := l.Attrs()
	if depth > 0 {
		if master := d.byIndex[a.MasterIndex]; master != nil && master.Type() == "bond" {
			d.resolve(master, depth-1, names)
			return
		}
		switch l.Type() {
		case "vlan", "macvlan", "ipvlan":
			// A lower device in another namespace is not ours to guard.
			if lower := d.byIndex[a.ParentIndex]; lower != nil && a.NetNsID < 0 {
				d.resolve(lower, depth-1, names)
				return
			}
		case "bridge":
			before := len(*names)
			for _, port := range d.ports[a.Index] {
				d.resolve(port, depth-1, names)
			}
			if len(*names) > before {
				return
			}
		}
	}
	*names = append(*names, a.Name)
}

// NotFound names the interface that a lookup by name did not find, or why it could not be
// looked up. There being none is os.ErrNotExist.
func NotFound(name string, err error) error {
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return fmt.Errorf("interface %s: %w", name, os.ErrNotExist)
	}
	return fmt.Errorf("look up interface %s: %w", name, err)
}

// interfaces lists the links of this namespace; a dump that was interrupted by a
// change is taken again.
func interfaces() (links []netlink.Link, err error) {
	return again(netlink.LinkList)
}
