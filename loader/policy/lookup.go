// This file is a model of how the kernel looks a source up in nested prefixes: check explains
// with it, and tests hold the kernel against it.

package policy

import (
	"net/netip"
	"slices"
	"time"
)

// The reasons that Lookup gives, by the kernel's names.
const (
	ReasonListed       = "listed"
	ReasonNotListed    = "not_listed"
	ReasonExpired      = "expired"
	ReasonWrongService = "wrong_service"
	ReasonSuspended    = "suspended"
)

// Lookup returns whether s lists addr for service at now, as a reason, and the entry that
// decided: the longest that would grant, else the longest that covers addr, or nil. Where a
// suspended prefix without an entry decides, the entry is made for the answer. Service "" is
// any service, as for packets without a port. addr is taken as it is: ::ffff:a.b.c.d is an
// IPv6 address. The entry belongs to s and must not be written to.
func (s State) Lookup(addr netip.Addr, service string, now time.Time) (entry *Entry, reason string) {
	addr = addr.WithZone("")
	reason = ReasonNotListed
	source := netip.PrefixFrom(addr, addr.BitLen())
	stop, stops := s.stopOver(source)
	for e := range s.Entries.Covering(source) {
		if stops && e.Prefix == stop {
			return e, ReasonSuspended
		}
		if stops && e.Prefix.Bits() < stop.Bits() {
			made, _ := s.Enforced(stop)
			return &made, ReasonSuspended
		}
		alone := s.Alone(e, service, now)
		if alone == ReasonListed || alone == ReasonSuspended {
			return e, alone
		}
		if entry == nil {
			entry, reason = e, alone
		}
	}
	return entry, reason
}

// stopOver returns the longest prefix around source for which IsStop is true.
func (s State) stopOver(source netip.Prefix) (netip.Prefix, bool) {
	for p := range s.Suspended.stopsOver(source) {
		if s.IsStop(p) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Alone returns the reason that e gives to its sources as if it were the only entry. What is
// suspended around it counts.
func (s State) Alone(e *Entry, service string, now time.Time) string {
	reason := e.reason(service, now)
	if reason == ReasonListed && s.IsSuspended(e) {
		return ReasonSuspended
	}
	return reason
}

// Loses reports whether some source in p is listed for service by s at now, and not by next.
// A prefix that next has split into its halves is not lost.
func (s State) Loses(next State, p netip.Prefix, service string, now time.Time) bool {
	if s.divides(p) || next.divides(p) {
		low, high := halves(p)
		return s.Loses(next, low, service, now) || s.Loses(next, high, service, now)
	}
	_, before := s.Lookup(p.Addr(), service, now)
	_, after := next.Lookup(p.Addr(), service, now)
	return before == ReasonListed && after != ReasonListed
}

// divides reports whether the sources in p may get different answers.
func (s State) divides(p netip.Prefix) bool {
	for e := range s.Entries.Under(p) {
		if e.Prefix != p {
			return true
		}
	}
	for stopped := range s.Suspended.StopsUnder(p) {
		if stopped != p {
			return true
		}
	}
	return false
}

// halves splits p, which is more than one address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits()
	address := p.Addr().AsSlice()
	address[bits/8] |= 0x80 >> (bits % 8)
	upper, _ := netip.AddrFromSlice(address)
	return netip.PrefixFrom(p.Addr(), bits+1), netip.PrefixFrom(upper, bits+1)
}

// Grants reports whether e, as if it were alone in s, lists its sources for service at
// now.
func (s State) Grants(e *Entry, service string, now time.Time) bool {
	return e.reason(service, now) == ReasonListed && !s.IsSuspended(e)
}

// reason is Alone without what is suspended around e.
func (e *Entry) reason(service string, now time.Time) string {
	switch {
	case HasEnded(e.Until(), now):
		return ReasonExpired
	case service != "" && len(e.Services()) > 0 && !slices.Contains(e.Services(), service):
		return ReasonWrongService
	case e.Suspended:
		return ReasonSuspended
	}
	return ReasonListed
}
