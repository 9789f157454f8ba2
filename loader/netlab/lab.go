// Package netlab builds small networks inside one kernel: a host that is to be
// protected, and a wire on the other side that owns as many client addresses
// as a test wants. It is for tests, for `xdpallow demo` and for benchmarks;
// nothing that protects a real host imports it.
//
// A [Lab] is two network namespaces under /run/netns, joined by one veth pair
// a [Link]:
//
//	NAME-PID-N-host  eth0 10.80.0.1/24  fd80::1/64 ─┐ default routes to the wire
//	NAME-PID-N-wire  eth0 10.80.0.2/24  fd80::2/64 ─┘ owns every client prefix
//
// Every address of a client prefix may be dialled from, without being
// configured one by one; see [Lab.AddClients]. All functions need root.
package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Clients that every lab has, from prefixes of which the wire owns each
// address. A lab knows no list: the names say what tests use them for.
var (
	Listed4   = netip.MustParseAddr("203.0.113.7")   // in ListedPrefix4
	Listed6   = netip.MustParseAddr("2001:db8:a::7") // in ListedPrefix6
	Unlisted4 = netip.MustParseAddr("198.51.100.7")
	Unlisted6 = netip.MustParseAddr("2001:db8:bad::7")

	ListedPrefix4   = netip.MustParsePrefix("203.0.113.0/24")
	ListedPrefix6   = netip.MustParsePrefix("2001:db8:a::/48")
	UnlistedPrefix4 = netip.MustParsePrefix("198.51.100.0/24")
	UnlistedPrefix6 = netip.MustParsePrefix("2001:db8:bad::/48")
)

// Lab is one host and its wire. It is safe for use by several goroutines.
// Whoever made it must Close it.
type Lab struct {
	Host *Namespace // the protected side, where xdpallow runs
	Wire *Namespace // the clients' and attackers' side

	mu    sync.Mutex
	links map[string]*Link
}

var (
	labs      atomic.Uint32
	nameRules = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
)

// New makes a lab with one link, eth0, and the default clients. The name is
// for people who read /run/netns: process id and a counter make it unique.
func New(name string) (_ *Lab, err error) {
	if !nameRules.MatchString(name) {
		return nil, fmt.Errorf("make lab %q: name must match %s", name, nameRules)
	}
	lab := &Lab{links: make(map[string]*Link)}
	complete := false
	defer func() {
		if !complete { // an error or a panic: leave nothing behind
			err = errors.Join(err, lab.Close())
		}
	}()
	if err := lab.makeNamespaces(name); err != nil {
		return nil, fmt.Errorf("make lab %s: %w", name, err)
	}
	if _, err := lab.AddLink("eth0"); err != nil {
		return nil, fmt.Errorf("make lab %s: %w", name, err)
	}
	if err := lab.AddClients(ListedPrefix4, ListedPrefix6, UnlistedPrefix4, UnlistedPrefix6); err != nil {
		return nil, fmt.Errorf("make lab %s: %w", name, err)
	}
	complete = true
	return lab, nil
}

// makeNamespaces passes over names that a killed process has left behind,
// whose process id we happen to have now.
func (l *Lab) makeNamespaces(name string) error {
	for {
		prefix := fmt.Sprintf("%s-%d-%d", name, os.Getpid(), labs.Add(1))
		host, err := newNamespace(prefix + "-host")
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		l.Host = host
		l.Wire, err = newNamespace(prefix + "-wire")
		return err
	}
}

// AddClients lets every address of the prefixes be used as a client: the wire
// accepts what is sent to it, and may dial and send from it. The addresses
// belong to no interface, so they survive [Lab.DeleteLink]. The host reaches
// them by its default routes.
func (l *Lab) AddClients(prefixes ...netip.Prefix) error {
	lo, err := l.Wire.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("add clients: find lo: %w", err)
	}
	for _, p := range prefixes {
		route := &netlink.Route{
			LinkIndex: lo.Attrs().Index,
			Dst:       ipNet(p.Masked()),
			Type:      unix.RTN_LOCAL,
			Table:     unix.RT_TABLE_LOCAL,
			Scope:     netlink.SCOPE_HOST,
		}
		if err := l.Wire.nl.RouteReplace(route); err != nil {
			return fmt.Errorf("add clients %s: %w", p, err)
		}
	}
	return nil
}

// Close removes links and namespaces. It may be called more than once, and on
// a lab that was only half made. Processes and sockets that still live in a
// namespace keep it alive, nameless and without links, until they end.
func (l *Lab) Close() error {
	var errs []error
	for _, link := range l.Links() {
		errs = append(errs, l.DeleteLink(link.Name))
	}
	for _, ns := range []*Namespace{l.Host, l.Wire} {
		if ns != nil {
			errs = append(errs, ns.remove())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close lab: %w", err)
	}
	return nil
}
