// This file ends connections that are open: the policy judges openings only, and who was
// stopped just now may have been connected for weeks.

package impact

import (
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// Source is the far end of a connection to a protected port, as a policy judges it.
type Source struct {
	Addr   netip.Addr
	Owner  string // for whom it counts; "" is nobody
	Listed bool   // it could connect again
}

// SourceOf is peer as s judges it at now; it is false where its port is not protected.
func SourceOf(s policy.State, peer policy.Peer, now time.Time) (Source, bool) {
	service, protected := s.ServiceOf(policy.Port{Protocol: policy.TCP, Number: peer.Port})
	if !protected {
		return Source{}, false
	}
	source := Source{Addr: peer.Addr.Unmap().WithZone("")}
	entry, reason := s.Lookup(source.Addr, service.Name, now)
	source.Listed = reason == policy.ReasonListed
	if entry != nil {
		source.Owner = s.OwnerOf(entry)
	}
	return source, true
}

// Of picks the sources that belong to subject.
func Of(subject policy.Subject) func(Source) bool {
	if subject.Owner != "" {
		return func(source Source) bool { return source.Owner == subject.Owner }
	}
	return Within([]netip.Prefix{subject.Prefix})
}

// Within picks the sources that lie in one of prefixes.
func Within(prefixes []netip.Prefix) func(Source) bool {
	return func(source Source) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(source.Addr) })
	}
}

// Disconnect ends the connections to the protected ports of s whose sources pick picks at
// now, and counts those that it has ended. Local clients always pass the gate, and are left
// alone. Errors are those of sockets.Cut.
func Disconnect(s policy.State, now time.Time, pick func(Source) bool) (int, error) {
	var ports []uint16
	for _, service := range s.Services {
		ports = append(ports, service.Numbers(policy.TCP)...)
	}
	ended, err := sockets.Cut(ports, func(c sockets.Conn) bool {
		if c.Peer.Addr().IsLoopback() || c.Peer.Addr() == c.Local.Addr() {
			return false
		}
		source, protected := SourceOf(s, policy.Peer{Addr: c.Peer.Addr(), Port: c.Local.Port()}, now)
		return protected && pick(source)
	})
	return len(ended), err
}
