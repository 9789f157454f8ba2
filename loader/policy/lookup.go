// This file is the model of the kernel's source lookup (DESIGN 4.4, nested
// prefixes): check explains with it, and tests hold the kernel against it.

package policy

import (
	"net/netip"
	"slices"
	"time"
)

// What Lookup says of a source. The words are those of the kernel's reasons.
const (
	ReasonListed       = "listed"
	ReasonNotListed    = "not_listed"
	ReasonExpired      = "expired"
	ReasonWrongService = "wrong_service"
	ReasonSuspended    = "suspended"
)

// Lookup says whether s lists addr for service at now, and which entry decided:
// the longest that would grant, else the longest that covers addr; nil if none
// does. Where a stopped prefix that is no entry decides, it is one that says so. Service "" is any service, as for packets that have no port. addr is
// taken as it is, ::ffff:a.b.c.d as an IPv6 address.
func (s State) Lookup(addr netip.Addr, service string, now time.Time) (entry *Entry, reason string) {
	addr = addr.WithZone("")
	reason = ReasonNotListed
	source := netip.PrefixFrom(addr, addr.BitLen())
	stopped, stops := s.Suspended.longest(source)
	for e := range s.Entries.Covering(source) {
		if stops && e.Prefix.Bits() < stopped.Bits() {
			return s.stop(stopped, e), ReasonSuspended
		}
		alone := e.reason(service, now)
		if alone == ReasonListed && s.IsSuspended(e) {
			alone = ReasonSuspended
		}
		if alone == ReasonListed || alone == ReasonSuspended {
			return e, alone
		}
		if entry == nil {
			entry, reason = e, alone
		}
	}
	return entry, reason
}

// stop is the entry at a stopped prefix within around.
func (s State) stop(p netip.Prefix, around *Entry) *Entry {
	if listed, found := s.Entries.Find(p); found {
		return listed
	}
	return &Entry{Prefix: p, Owner: around.Owner, Suspended: true}
}

// reason is what e says of a source that it covers, as if it were alone.
func (e *Entry) reason(service string, now time.Time) string {
	switch {
	case hasEnded(e.Until, now):
		return ReasonExpired
	case service != "" && len(e.Services) > 0 && !slices.Contains(e.Services, service):
		return ReasonWrongService
	case e.Suspended:
		return ReasonSuspended
	}
	return ReasonListed
}
