package query

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// This file picks the entries that list shows.

// asked reports whether e, as it is used, is one that r asks for.
func asked(r api.ListRequest, e api.Entry, now time.Time) bool {
	if r.Expiring > 0 && !EndsWithin(e.Until, now, r.Expiring) {
		return false
	}
	if r.Expired && !e.Ended {
		return false
	}
	if r.Unused == 0 {
		return true
	}
	// Who was let in yesterday and has not come yet is not unused for a quarter.
	since := e.FirstEnforced
	if since != nil && e.LastSeen != nil && e.LastSeen.After(*since) {
		since = e.LastSeen
	}
	return since != nil && now.Sub(*since) >= r.Unused
}

// among yields the entries that lie in the prefix of r or cover it; all without one.
func among(r api.ListRequest, entries policy.Entries) iter.Seq[*policy.Entry] {
	if !r.Prefix.IsValid() {
		return entries.All()
	}
	return func(yield func(*policy.Entry) bool) {
		for e := range entries.Covering(r.Prefix) {
			if e.Prefix != r.Prefix && !yield(e) {
				return
			}
		}
		for e := range entries.Under(r.Prefix) {
			if !yield(e) {
				return
			}
		}
	}
}

// EndsWithin reports whether until lies after now, and within so long; nil is never.
func EndsWithin(until *time.Time, now time.Time, within time.Duration) bool {
	return until != nil && until.After(now) && until.Sub(now) <= within
}

// List returns the entries that r asks for.
func (v *View) List(r api.ListRequest) (api.Listing, error) {
	listing := api.Listing{Generation: v.Generation, Total: v.Policy.Entries.Len(), Entries: []api.Entry{}}
	now := v.Now()
	var connected map[netip.Prefix]bool
	if r.Unused > 0 {
		var err error
		if connected, err = v.connected(now); err != nil {
			return listing, err
		}
	}
	some := make([]*policy.Entry, 0, chunk)
	show := func() error {
		reported, err := v.Report(some)
		for _, e := range reported {
			switch {
			case !asked(r, e, now):
			case connected[e.Prefix]:
				listing.Connected = append(listing.Connected, e.Prefix)
			default:
				listing.Entries = append(listing.Entries, e)
			}
		}
		some = some[:0]
		return err
	}
	owner := r.Owner
	if owner == api.NoOwner {
		owner = ""
	}
	for e := range among(r, v.Policy.Entries) {
		if r.Owner != "" && e.Owner != owner && v.Policy.OwnerOf(e) != owner {
			continue
		}
		if some = append(some, e); len(some) == chunk {
			if err := show(); err != nil {
				return listing, err
			}
		}
	}
	return listing, show()
}

// connected are the entries by which somebody who is connected now would be let in
// again: a client that opens once and stays for a quarter is in use.
func (v *View) connected(now time.Time) (map[netip.Prefix]bool, error) {
	ports := map[uint16]bool{}
	for _, service := range v.Policy.Services {
		for _, port := range service.Ports {
			if port.Protocol == policy.TCP {
				ports[port.Number] = true
			}
		}
	}
	conns, err := sockets.Established(slices.Collect(maps.Keys(ports)))
	if err != nil {
		return nil, &policy.Refused{What: fmt.Sprintf("who is connected now is not known, and could be listed as unused: %v", err), Hint: "modprobe tcp_diag"}
	}
	found := map[netip.Prefix]bool{}
	for _, peer := range sockets.Peers(conns) {
		service, protected := v.Policy.ServiceOf(policy.Port{Protocol: policy.TCP, Number: peer.Port})
		if !protected {
			continue
		}
		if e, _ := v.Policy.Lookup(peer.Addr, service.Name, now); e != nil {
			found[e.Prefix] = true
		}
	}
	return found, nil
}
