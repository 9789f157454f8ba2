package query

import (
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file says whose an address is. A proxy asks it for every request, so nothing is read but
// the view: no lock, no file, no map of the kernel.

// Ownership returns for whom addr counts at a service, and whether it is listed there. expected is
// the owner that the address should be of; "" expects nobody in particular. It returns false if
// there is no such service.
func (v *View) Ownership(addr netip.Addr, service, expected string) (api.Ownership, bool) {
	i := slices.IndexFunc(v.Policy.Services, func(s policy.Service) bool { return s.Name == service })
	if i < 0 {
		return api.Ownership{}, false
	}
	// A server that listens on both families may give an IPv4 peer as ::ffff:a.b.c.d.
	entry, reason := v.Policy.Lookup(addr.Unmap(), service, v.Now())
	o := api.Ownership{Reason: reason, Audit: v.Auditing(v.Policy.Services[i], compile.Boottime())}
	if entry != nil {
		o.Owner, o.Prefix = v.Policy.OwnerOf(entry), entry.Prefix
	}
	if reason == policy.ReasonListed && expected != "" && expected != o.Owner {
		o.Reason = api.ReasonWrongOwner
	}
	return o, true
}
