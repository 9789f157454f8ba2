package query

import (
	"iter"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file says who is listed in a form that needs no rules: a table in which the longest
// prefix around a source decides. Proxies that keep a copy of the list look it up so.

// row is what the longest prefix of a flat table says of its sources.
type row struct {
	prefix  netip.Prefix
	owner   string // for whom they count; "" is nobody
	refused bool   // a wider prefix would let them in, and must not
}

// flat yields a table, sorted by policy.ComparePrefix, by which the same sources are listed for
// service at now as by s.Lookup. Service "" is any.
func flat(s policy.State, service string, now time.Time) iter.Seq[row] {
	return func(yield func(row) bool) {
		next, stop := iter.Pull(s.Suspended.Stops())
		defer stop()
		stopped, more := next()
		// before yields the stops up to p that are no entries, all without p; false is the end.
		before := func(p netip.Prefix) bool {
			for ; more && (!p.IsValid() || policy.ComparePrefix(stopped, p) <= 0); stopped, more = next() {
				if stopped != p && s.IsStop(stopped) && within(s, stopped, service, now) && !yield(row{prefix: stopped, refused: true}) {
					return false
				}
			}
			return true
		}
		for e := range s.Entries.All() {
			if !before(e.Prefix) {
				return
			}
			reason := s.Alone(e, service, now)
			refused := reason == policy.ReasonSuspended || s.IsStop(e.Prefix)
			switch {
			case refused && within(s, e.Prefix, service, now):
				if !yield(row{prefix: e.Prefix, refused: true}) {
					return
				}
			case !refused && reason == policy.ReasonListed:
				if !yield(row{prefix: e.Prefix, owner: s.OwnerOf(e)}) {
					return
				}
			}
		}
		before(netip.Prefix{})
	}
}

// within reports whether an entry around p lists its sources for service at now.
func within(s policy.State, p netip.Prefix, service string, now time.Time) bool {
	for around := range s.Entries.Covering(p) {
		if around.Prefix != p && s.Grants(around, service, now) {
			return true
		}
	}
	return false
}
