package query

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file says what happens to a source and why.

// Check asks the shadow program what happens to openings from addrs, and the state why: for each
// address in the order given, at port or at every protected one.
func (v *View) Check(addrs []netip.Addr, port *policy.Port) ([]api.CheckResult, error) {
	var ports []policy.Port
	for _, s := range v.Policy.Services {
		ports = append(ports, s.Ports...)
	}
	slices.SortFunc(ports, policy.ComparePort)
	if port != nil {
		ports = []policy.Port{*port}
	}
	guarded := v.Gate.Attached()
	i := slices.IndexFunc(guarded, func(name string) bool {
		at, err := v.Gate.Inspect(name)
		return err == nil && at.Mode != ""
	})
	if i < 0 {
		return nil, &policy.Refused{What: "no interface is attached, so no packet is judged by the gate", Hint: "xdpallow status"}
	}
	results := make([]api.CheckResult, 0, len(addrs)*len(ports))
	for _, addr := range addrs {
		addr = addr.Unmap()
		if addr.Zone() != "" {
			return nil, &policy.InputError{What: fmt.Sprintf("%s has a zone, which no packet carries", addr), Hint: "xdpallow check " + addr.WithZone("").String()}
		}
		for _, p := range ports {
			r, err := v.checkPort(guarded[i], addr, p)
			if err != nil {
				return nil, err
			}
			results = append(results, r)
		}
	}
	return results, nil
}

func (v *View) checkPort(at string, addr netip.Addr, port policy.Port) (api.CheckResult, error) {
	r := api.CheckResult{
		Address: addr, Port: port, Services: []string{}, Origins: []policy.Origin{}, Covering: []api.Covering{}, Nearest: []api.Near{},
		Generation: v.Generation,
	}
	answer, err := v.Gate.AskOpening(at, addr, port.Protocol == policy.TCP, port.Number)
	if err != nil {
		return r, fmt.Errorf("check %s: %w", addr, err)
	}
	r.Verdict, r.Reason = answer.Verdict.String(), answer.Reason.String()
	service, protected := v.Policy.ServiceOf(port)
	if !protected {
		return r, nil
	}
	now := v.Now()
	// The kernel decides; the state only says which entry it must have been.
	if e, _ := v.Policy.Lookup(addr, service.Name, now); e != nil {
		r.Prefix, r.Owner, r.Origins, r.Until = &e.Prefix, e.Owner(), e.Origins(), some(e.Until())
		r.Services = append(r.Services, e.Services()...)
		r.CountsFor, r.Suspension = v.whose(e)
		if port.Protocol == policy.TCP {
			r.Limit = LimitOf(v.State, v.Policy.OwnerOf(e))
		}
	}
	for e := range v.Policy.Entries.Covering(netip.PrefixFrom(addr, addr.BitLen())) {
		r.Covering = append(r.Covering, api.Covering{
			Prefix: e.Prefix, Owner: e.Owner(), Services: append([]string{}, e.Services()...), Until: some(e.Until()),
			Reason: v.Policy.Alone(e, service.Name, now),
		})
	}
	if r.Reason == policy.ReasonNotListed {
		r.Nearest = v.nearest(addr, service.Name, now)
	}
	return r, nil
}

// whose says for whom e counts, where that is not its owner, and what stops it.
func (v *View) whose(e *policy.Entry) (countsFor string, by *api.Suspension) {
	if owner := v.Policy.OwnerOf(e); owner != e.Owner() {
		countsFor = owner
	}
	prefix, owner := v.Policy.SuspendedBy(e)
	return countsFor, SuspensionOf(v.State, policy.Subject{Prefix: prefix, Owner: owner})
}

// Beyond these lengths two prefixes have nothing to do with each other.
const (
	nearEnough4 = 16
	nearEnough6 = 32
	nearestMost = 3
)

// nearest are the entries for service beside addr, which none of them covers: those with
// which it has most bits in common. Where few let somebody in, those that do not any more
// are among them.
func (v *View) nearest(addr netip.Addr, service string, now time.Time) []api.Near {
	found := v.nearestOf(addr, service, now, []string{policy.ReasonListed}, nearestMost)
	found = append(found, v.nearestOf(addr, service, now, []string{policy.ReasonExpired, policy.ReasonSuspended}, nearestMost-len(found))...)
	slices.SortStableFunc(found, func(a, b api.Near) int { return cmp.Compare(a.Distance, b.Distance) })
	return found
}

// nearestOf are at most so many of them that say one of reasons of their own sources.
func (v *View) nearestOf(addr netip.Addr, service string, now time.Time, reasons []string, most int) []api.Near {
	found := []api.Near{}
	least := nearEnough6
	if addr.Is4() {
		least = nearEnough4
	}
	for bits := addr.BitLen() - 1; bits >= least && most > 0; bits-- {
		within := netip.PrefixFrom(addr, bits).Masked()
		for e := range v.Policy.Entries.Under(within) {
			known := slices.ContainsFunc(found, func(n api.Near) bool { return n.Prefix == e.Prefix })
			reason := v.Policy.Alone(e, service, now)
			if known || e.Prefix.Contains(addr) || !slices.Contains(reasons, reason) {
				continue
			}
			if reason == policy.ReasonListed {
				reason = ""
			}
			found = append(found, api.Near{Prefix: e.Prefix, Owner: e.Owner(), Within: within, Distance: addr.BitLen() - bits, Reason: reason})
			if len(found) == most {
				return found
			}
		}
	}
	return found
}
