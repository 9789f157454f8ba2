// This file says what the policy decides about sources, ports and modes: it looks a source up by
// trying every entry, and turns a reason into a verdict.
package oracle

import (
	"net/netip"
	"slices"
)

// anyService stands for no service in particular: a source that is listed for one is listed.
const anyService = 0

// lookup is the reason of a source for a service, as for an opening: the longest
// entry that grants is final, and if none does the longest match is the reason.
func (p Policy) lookup(source netip.Addr, service int) Reason {
	if !source.IsValid() {
		return NotListed
	}
	var covering []Entry
	for _, e := range p.Entries {
		if e.Prefix.Contains(source) {
			covering = append(covering, e)
		}
	}
	if len(covering) == 0 {
		return NotListed
	}
	slices.SortFunc(covering, func(a, b Entry) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	for _, e := range covering {
		switch {
		case e.Expired || !e.grants(service):
		case e.Suspended:
			return Suspended
		default:
			return Listed
		}
	}
	if covering[0].Expired {
		return Expired
	}
	return WrongService
}

func (e Entry) grants(service int) bool {
	return e.Services == nil || service == anyService && len(e.Services) > 0 ||
		slices.Contains(e.Services, service)
}

// service is the number of the service that protects port, or 0.
func (p Policy) service(port uint16, protocol int) int {
	for i, s := range p.Services {
		if protocol == tcp && slices.Contains(s.TCP, port) || protocol == udp && slices.Contains(s.UDP, port) {
			return i + 1
		}
	}
	return 0
}

// scope is that of a service, or the widest of any for what belongs to none.
func (p Policy) scope(service int) Scope {
	if service != 0 {
		return p.Services[service-1].Scope
	}
	widest := SYN
	for _, s := range p.Services {
		widest = max(widest, s.Scope)
	}
	return widest
}

func (p Policy) verdict(reason Reason, service int) Verdict {
	if reason.Passes() {
		return Pass
	}
	enforce := func(s Service) bool { return s.Enforce }
	if service == 0 && slices.ContainsFunc(p.Services, enforce) || service != 0 && enforce(p.Services[service-1]) {
		return Drop
	}
	return Audit
}
