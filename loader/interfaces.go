package loader

import (
	"errors"
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
		return nil, notFound(name, netlink.LinkNotFoundError{})
	}
	var names []string
	resolve(links, links[i], 8, &names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// resolve follows l to what carries its packets; depth bounds a loop of devices.
func resolve(links []netlink.Link, l netlink.Link, depth int, names *[]string) {
	a := l.Attrs()
	if depth > 0 {
		if master := byIndex(links, a.MasterIndex); master != nil && master.Type() == "bond" {
			resolve(links, master, depth-1, names)
			return
		}
		switch l.Type() {
		case "vlan", "macvlan", "ipvlan":
			// A lower device in another namespace is not ours to guard.
			if lower := byIndex(links, a.ParentIndex); lower != nil && a.NetNsID < 0 {
				resolve(links, lower, depth-1, names)
				return
			}
		case "bridge":
			before := len(*names)
			for _, port := range links {
				if port.Attrs().MasterIndex == a.Index {
					resolve(links, port, depth-1, names)
				}
			}
			if len(*names) > before {
				return
			}
		}
	}
	*names = append(*names, a.Name)
}

func byIndex(links []netlink.Link, index int) netlink.Link {
	if i := slices.IndexFunc(links, func(l netlink.Link) bool { return index != 0 && l.Attrs().Index == index }); i >= 0 {
		return links[i]
	}
	return nil
}

// interfaces lists the links of this namespace; a dump that was interrupted by a
// change is taken again.
func interfaces() (links []netlink.Link, err error) {
	return again(netlink.LinkList)
}

// Uncovered returns the interfaces that are up and have an address, and whose
// packets do not all come in by one of the guarded: a way in beside the gate.
func Uncovered(guarded []string) ([]string, error) {
	links, err := interfaces()
	if err != nil {
		return nil, err
	}
	uncovered := []string{}
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, os.ErrNotExist) || len(addresses) == 0 {
			continue
		}
		var names []string
		resolve(links, l, 8, &names)
		if slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(guarded, name) }) {
			uncovered = append(uncovered, a.Name)
		}
	}
	slices.Sort(uncovered)
	return uncovered, nil
}
