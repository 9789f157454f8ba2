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

// Picked reports whether a source belongs to those whose connections are to end; entry
// is the one that decides of it, nil when none does.
type Picked func(source netip.Addr, entry *policy.Entry) bool

// Belonging is Picked, in any state, for all that belongs to s.
func Belonging(s policy.Subject) func(policy.State) Picked {
	return func(state policy.State) Picked {
		return func(source netip.Addr, entry *policy.Entry) bool {
			if s.Owner == "" {
				return s.Prefix.Contains(source)
			}
			return entry != nil && state.OwnerOf(entry) == s.Owner
		}
	}
}

// Within is Picked, in any state, for what lies in one of prefixes.
func Within(prefixes []netip.Prefix) func(policy.State) Picked {
	return func(policy.State) Picked {
		return func(source netip.Addr, _ *policy.Entry) bool {
			return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(source) })
		}
	}
}

// Choose tells whose connections to a port are to end; with unlisted only those who
// could not open them any more.
func Choose(state policy.State, which Picked, unlisted bool) func(source netip.Addr, port uint16) bool {
	now := time.Now()
	return func(source netip.Addr, port uint16) bool {
		service, protected := state.ServiceOf(policy.Port{Protocol: policy.TCP, Number: port})
		if !protected {
			return false
		}
		source = source.Unmap().WithZone("")
		entry, reason := state.Lookup(source, service.Name, now)
		return which(source, entry) && !(unlisted && reason == policy.ReasonListed)
	}
}

// Disconnect ends the connections to the protected ports that choose picks, and counts them.
// Local clients always pass the gate and are left alone.
func Disconnect(state policy.State, choose func(netip.Addr, uint16) bool) (int, error) {
	var ports []uint16
	for _, service := range state.Services {
		for _, port := range service.Ports {
			if port.Protocol == policy.TCP {
				ports = append(ports, port.Number)
			}
		}
	}
	ended, err := sockets.Cut(ports, func(c sockets.Conn) bool {
		return !c.Peer.Addr().IsLoopback() && c.Peer.Addr() != c.Local.Addr() && choose(c.Peer.Addr(), c.Local.Port())
	})
	return len(ended), err
}
