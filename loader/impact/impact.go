// Package impact says whom a change would cut off before it is made, ends connections that
// are open, and finds out who is logged in: a list shows who may connect, and not who does.
package impact

import (
	"iter"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// Use is what is known of who uses the gate.
type Use struct {
	LastSeen func(*policy.Entry) *time.Time // when a source of an entry was; nil is never
	Since    time.Time                      // an entry that was seen then or later is in use
	Peers    []policy.Peer                  // far ends of open connections, one each
	Sessions []policy.Peer                  // the caller's own
}

// Assess returns who is in use by use, is let in by old, and is not let in by next any more;
// plan is the difference of the two. Entries come by prefix, and then the peers that no
// entry lets in. It is never nil.
func Assess(old, next policy.State, plan policy.Plan, use Use, now time.Time) []api.Cut {
	f := finder{old: old, next: next, now: now, byPrefix: map[netip.Prefix]*api.Cut{}, byPeer: map[netip.Addr]*api.Cut{}}
	if plan.Empty() {
		return []api.Cut{}
	}
	for entry := range f.touched(plan) {
		if len(f.lost(entry)) == 0 {
			continue
		}
		if seen := use.LastSeen(entry); seen != nil && !seen.Before(use.Since) {
			f.entry(entry, seen)
		}
	}
	for _, peer := range use.Peers {
		f.connection(peer, slices.Contains(use.Sessions, peer))
	}
	return f.sorted(use.LastSeen)
}

// Connected are the far ends of the connections to the TCP ports at which s drops, but for
// the host's own addresses, which always pass. The error is that of a kernel that does not
// tell.
func Connected(s policy.State) (peers []policy.Peer, err error) {
	conns, err := sockets.Established(enforcedPorts(s))
	own := ownAddrs(conns)
	for _, conn := range conns {
		if addr := conn.Peer.Addr(); !own[addr] {
			peers = append(peers, policy.Peer{Addr: addr, Port: conn.Local.Port()})
		}
	}
	return peers, err
}

// enforcedPorts are the TCP ports at which s drops.
func enforcedPorts(s policy.State) (ports []uint16) {
	for _, service := range s.Services {
		if service.Mode == policy.Enforce {
			ports = append(ports, service.Numbers(policy.TCP)...)
		}
	}
	return ports
}

// ownAddrs are the host's own addresses, which always pass; nobody asks where nobody
// is connected.
func ownAddrs(conns []sockets.Conn) map[netip.Addr]bool {
	own := map[netip.Addr]bool{}
	if len(conns) == 0 {
		return own
	}
	addrs, _ := net.InterfaceAddrs() // what is not known to be local is told
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil {
			own[prefix.Addr().Unmap()] = true
		}
	}
	return own
}

// finder finds who is let in by old and not by next.
type finder struct {
	old, next policy.State
	now       time.Time
	byPrefix  map[netip.Prefix]*api.Cut
	byPeer    map[netip.Addr]*api.Cut // whom no entry lets in
}

// touched yields the entries of old that may let in fewer sources afterwards, some twice.
func (c *finder) touched(plan policy.Plan) iter.Seq[*policy.Entry] {
	return func(yield func(*policy.Entry) bool) {
		for _, entry := range slices.Concat(plan.Removed, plan.Changed) {
			if old, found := c.old.Entries.Find(entry.Prefix); found && !yield(old) {
				return
			}
		}
		if !plan.SuspendedChanged {
			return
		}
		for p := range c.old.Suspended.Changed(c.next.Suspended) { // what an owner has that lets somebody in is held
			for old := range c.old.Entries.Under(p) {
				if c.next.IsSuspended(old) && !c.old.IsSuspended(old) && !yield(old) {
					return
				}
			}
		}
		for stopped := range c.next.Suspended.Stops() {
			if c.old.Suspended.Stopped(stopped) || !c.next.IsStop(stopped) {
				continue
			}
			for old := range c.old.Entries.Covering(stopped) {
				if !yield(old) {
					return
				}
				if len(old.Services()) == 0 && c.old.Grants(old, "", c.now) {
					break // it alone lets these sources in, not what is around it
				}
			}
		}
	}
}

// lost are the services that entry opens, and that are closed to some source in it
// afterwards. That it was seen says nothing of a service at which nobody was asked.
func (c *finder) lost(entry *policy.Entry) (names []string) {
	for _, s := range c.next.Services {
		asked := slices.ContainsFunc(c.old.Services, func(old policy.Service) bool { return old.Name == s.Name && old.Mode == policy.Enforce })
		if asked && s.Mode == policy.Enforce && c.old.Grants(entry, s.Name, c.now) && c.old.Loses(c.next, entry.Prefix, s.Name, c.now) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (c *finder) entry(entry *policy.Entry, seen *time.Time) *api.Cut {
	cut, found := c.byPrefix[entry.Prefix]
	if !found {
		cut = &api.Cut{Prefix: &entry.Prefix, Owner: entry.Owner(), Services: c.lost(entry), LastSeen: seen, Peers: []api.CutPeer{}}
		c.byPrefix[entry.Prefix] = cut
	}
	return cut
}

// connection counts a connection, if its peer could not open it again. session says
// that it is the caller's.
func (c *finder) connection(peer policy.Peer, session bool) {
	port := policy.Port{Protocol: policy.TCP, Number: peer.Port}
	before, by := c.old.Admits(peer, c.now)
	if after, _ := c.next.Admits(peer, c.now); !before || after {
		return
	}
	var cut *api.Cut
	service, _ := c.next.ServiceOf(port)
	if by != nil {
		cut = c.entry(by, nil)
	} else if cut = c.byPeer[peer.Addr]; cut == nil {
		cut = &api.Cut{Services: []string{}, Peers: []api.CutPeer{}}
		c.byPeer[peer.Addr] = cut
	}
	if !slices.Contains(cut.Services, service.Name) {
		cut.Services = append(cut.Services, service.Name)
		slices.Sort(cut.Services)
	}
	cut.Connections++
	i := slices.IndexFunc(cut.Peers, func(p api.CutPeer) bool { return p.Address == peer.Addr && p.Port == port })
	if i < 0 {
		if len(cut.Peers) == maxCutPeers && !session {
			return
		}
		i = len(cut.Peers)
		cut.Peers = append(cut.Peers, api.CutPeer{Address: peer.Addr, Port: port})
	}
	cut.Peers[i].Connections++
	cut.Peers[i].Session = cut.Peers[i].Session || session
}

// sorted are the cuts by prefix, then those of no entry by peer.
func (c *finder) sorted(seen func(*policy.Entry) *time.Time) []api.Cut {
	cuts := []api.Cut{}
	for prefix, cut := range c.byPrefix {
		if entry, found := c.old.Entries.Find(prefix); found && cut.LastSeen == nil {
			cut.LastSeen = seen(entry)
		}
		cuts = append(cuts, *cut)
	}
	for _, cut := range c.byPeer {
		cuts = append(cuts, *cut)
	}
	slices.SortFunc(cuts, func(a, b api.Cut) int {
		switch {
		case a.Prefix != nil && b.Prefix != nil:
			return policy.ComparePrefix(*a.Prefix, *b.Prefix)
		case a.Prefix == nil && b.Prefix == nil:
			return a.Peers[0].Address.Compare(b.Peers[0].Address)
		case a.Prefix == nil:
			return 1
		}
		return -1
	})
	return cuts
}

// maxCutPeers keeps the report of one entry short: it names so many far ends of its
// connections, and the caller's own.
const maxCutPeers = 20
