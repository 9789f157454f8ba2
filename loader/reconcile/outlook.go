package reconcile

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// This file says of a change, before it is made, whom it would cut off: a list shows
// who may connect, and not who does.

// maxCutPeers keeps the report of one entry short: it names so many far ends of its connections.
const maxCutPeers = 20

// SumCuts is one line for cuts, of which there are some.
func SumCuts(cuts []Cut) string {
	type sum struct{ prefixes, connections int }
	owners := map[string]sum{}
	var strangers []Cut
	for _, cut := range cuts {
		if cut.Prefix == nil {
			strangers = append(strangers, cut)
			continue
		}
		owner := cmp.Or(cut.Owner, "no owner")
		owners[owner] = sum{owners[owner].prefixes + 1, owners[owner].connections + cut.Connections}
	}
	var words []string
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		if len(words) == maxOwnersTold {
			words = append(words, "and "+policy.Count(len(owners)-len(words), "owner", "owners")+" more")
			break
		}
		text := owner + " (" + policy.Count(owners[owner].prefixes, "prefix", "prefixes") + " in use"
		if open := owners[owner].connections; open > 0 {
			text += ", " + policy.Count(open, "open connection", "open connections")
		}
		words = append(words, text+")")
	}
	all := []string{}
	if len(words) > 0 {
		all = append(all, strings.Join(words, ", "))
	}
	room := max(1, maxOwnersTold-len(words))
	for i, cut := range strangers {
		if i == room {
			all = append(all, fmt.Sprintf("and %d more", len(strangers)-i))
			break
		}
		all = append(all, cut.Who()+": "+cut.To())
	}
	return "cut off: " + strings.Join(all, "; ")
}

// maxOwnersTold keeps a warning one line.
const maxOwnersTold = 5

// enforcedPorts are the TCP ports at which s drops.
func enforcedPorts(s policy.State) (ports []uint16) {
	for _, service := range s.Services {
		for _, port := range service.Ports {
			if service.Mode == policy.Enforce && port.Protocol == policy.TCP {
				ports = append(ports, port.Number)
			}
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

// cutting finds who is let in by old and not by next.
type cutting struct {
	old, next policy.State
	now       time.Time
	byPrefix  map[netip.Prefix]*Cut
	byPeer    map[netip.Addr]*Cut // whom no entry lets in
}

// touched yields the entries of old that may let in fewer sources afterwards, some twice.
func (c *cutting) touched(plan policy.Plan) iter.Seq[*policy.Entry] {
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
				if len(old.Services) == 0 && c.old.Grants(old, "", c.now) {
					break // it alone lets these sources in, not what is around it
				}
			}
		}
	}
}

// lost are the services that entry opens, and that are closed to some source in it
// afterwards. That it was seen says nothing of a service at which nobody was asked.
func (c *cutting) lost(entry *policy.Entry) (names []string) {
	for _, s := range c.next.Services {
		asked := slices.ContainsFunc(c.old.Services, func(old policy.Service) bool { return old.Name == s.Name && old.Mode == policy.Enforce })
		if asked && s.Mode == policy.Enforce && c.old.Grants(entry, s.Name, c.now) && !c.next.Lists(entry.Prefix, s.Name, c.now) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (c *cutting) entry(entry *policy.Entry, seen *time.Time) *Cut {
	cut, found := c.byPrefix[entry.Prefix]
	if !found {
		cut = &Cut{Prefix: &entry.Prefix, Owner: entry.Owner, Services: c.lost(entry), LastSeen: seen, Peers: []CutPeer{}}
		c.byPrefix[entry.Prefix] = cut
	}
	return cut
}

// connection counts a connection, if its peer could not open it again. session says
// that it is the caller's.
func (c *cutting) connection(peer policy.Peer, session bool) {
	port := policy.Port{Protocol: policy.TCP, Number: peer.Port}
	before, by := c.old.Admits(peer, c.now)
	if after, _ := c.next.Admits(peer, c.now); !before || after {
		return
	}
	var cut *Cut
	service, _ := c.next.ServiceOf(port)
	if by != nil {
		cut = c.entry(by, nil)
	} else if cut = c.byPeer[peer.Addr]; cut == nil {
		cut = &Cut{Services: []string{}, Peers: []CutPeer{}}
		c.byPeer[peer.Addr] = cut
	}
	if !slices.Contains(cut.Services, service.Name) {
		cut.Services = append(cut.Services, service.Name)
		slices.Sort(cut.Services)
	}
	cut.Connections++
	i := slices.IndexFunc(cut.Peers, func(p CutPeer) bool { return p.Address == peer.Addr && p.Port == port })
	if i < 0 {
		if len(cut.Peers) == maxCutPeers && !session {
			return
		}
		i = len(cut.Peers)
		cut.Peers = append(cut.Peers, CutPeer{Address: peer.Addr, Port: port})
	}
	cut.Peers[i].Connections++
	cut.Peers[i].Session = cut.Peers[i].Session || session
}

// sorted are the cuts by prefix, then those of no entry by peer.
func (c *cutting) sorted(reported func(*policy.Entry) Entry) []Cut {
	cuts := []Cut{}
	for prefix, cut := range c.byPrefix {
		if entry, found := c.old.Entries.Find(prefix); found && cut.LastSeen == nil {
			cut.LastSeen = reported(entry).LastSeen
		}
		cuts = append(cuts, *cut)
	}
	for _, cut := range c.byPeer {
		cuts = append(cuts, *cut)
	}
	slices.SortFunc(cuts, func(a, b Cut) int {
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
