package query

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// This file says whom a probe of an owner may knock at, and counts what the owner opens meanwhile.

// mostProbed bounds the addresses of one probe, which knocks at one after the other.
const mostProbed = 256

// Probe returns whom a probe of owner may knock at: his listed hosts, and who of his networks is
// connected now. It returns a *policy.Refused if he has not agreed, or if the counts would say
// nothing about him.
func (v *View) Probe(known config.Probe, owner string) (api.ProbePlan, error) {
	plan := api.ProbePlan{Owner: owner, Addresses: []netip.Addr{}, Services: []api.ProbeService{}}
	if err := v.Knows(owner); err != nil {
		return plan, err
	}
	if !slices.Contains(known.Allowed, owner) {
		return plan, &policy.Refused{
			What: "a probe sends traffic to " + owner + ", and the config file does not say that he has agreed",
			Hint: "owners: {" + owner + ": {probe: allowed}}   # in the config file, then: xdpallow reload",
		}
	}
	if _, suspended := v.Suspensions[policy.Subject{Owner: owner}]; suspended {
		return plan, &policy.Refused{What: owner + " is suspended: what he opens is sent again and again, and tells nothing", Hint: "xdpallow resume " + owner}
	}
	for _, s := range v.Policy.Services {
		if ports := s.Numbers(policy.TCP); len(ports) > 0 {
			plan.Services = append(plan.Services, api.ProbeService{Name: s.Name, Host: known.Hosts[s.Name], Ports: ports})
		}
	}
	if len(plan.Services) == 0 {
		return plan, &policy.Refused{What: "no service has a TCP port: what owners open is counted for TCP alone"}
	}
	peers, err := v.peersOf(owner)
	if err != nil {
		return plan, err
	}
	var addrs []netip.Addr
	p := picker{View: v, r: api.ListRequest{Owner: owner}, now: v.Now()}
	for e := range p.picked() {
		switch {
		case policy.HasEnded(e.Until(), p.now): // the address may be somebody else's by now
		case e.Prefix.IsSingleIP():
			addrs = append(addrs, e.Prefix.Addr())
		default:
			plan.Networks++
		}
	}
	for _, peer := range peers {
		addrs = append(addrs, peer.Addr())
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	if len(addrs) == 0 {
		return plan, &policy.Refused{
			What: fmt.Sprintf("%s has no address to knock at: none is listed by itself, and of his %s nobody is connected now", owner, policy.Count(plan.Networks, "network", "networks")),
			Hint: "xdpallow list " + owner,
		}
	}
	n := min(len(addrs), mostProbed)
	plan.Addresses, plan.LeftOut = addrs[:n], len(addrs)-n
	return plan, nil
}

// Openings returns what owner has opened.
func (v *View) Openings(owner string) (api.Openings, error) {
	use, err := v.Usage.Owner(owner)
	if err != nil {
		return api.Openings{}, err
	}
	all := api.Openings{Openings: use.Passed + use.Audited}
	for _, n := range use.Dropped {
		all.Openings += n
	}
	all.Peers, err = v.peersOf(owner)
	return all, err
}

// peersOf returns the far ends of the open connections of owner, sorted.
func (v *View) peersOf(owner string) ([]netip.AddrPort, error) {
	var ports []uint16
	for _, service := range v.Policy.Services {
		ports = append(ports, service.Numbers(policy.TCP)...)
	}
	conns, err := sockets.Established(ports)
	if err != nil {
		return nil, &policy.Refused{What: fmt.Sprintf("who is connected now is not known: %v", err), Hint: "modprobe tcp_diag"}
	}
	peers, now := []netip.AddrPort{}, v.Now()
	for _, c := range conns {
		if e, _ := v.Policy.Lookup(c.Peer.Addr(), "", now); e != nil && v.Policy.OwnerOf(e) == owner {
			peers = append(peers, c.Peer)
		}
	}
	return peers, nil
}
