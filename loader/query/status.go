package query

import (
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Status is what the state itself says: nothing of problems, interfaces and the daemon.
// failing are the origins that could not be read, and why; followed are those that are kept
// elsewhere.
func (v *View) Status(failing map[policy.Origin]error, followed follow.Origins) api.Status {
	now, origins := v.Now(), v.Origins()
	for origin := range failing {
		origins[origin] += 0 // one that has no claim is shown, too
	}
	for origin := range followed {
		origins[origin] += 0
	}
	ended := v.Counts.Ended(now)
	ipv4, ipv6 := v.Policy.Entries.Families()
	return api.Status{
		Generation: v.Generation,
		Entries:    v.Policy.Entries.Len() - ended,
		Ended:      ended,
		Families:   api.Families{IPv4: ipv4, IPv6: ipv6},
		Owners:     v.Counts.OwnersCount(),
		Expiring:   v.Counts.Ending(now, api.Soon),
		Services:   v.Services(),
		Origins:    v.originsOf(origins, failing, followed),
		Suspended:  SuspensionsOf(v.State),
		Limited:    v.Limited(),
	}
}
