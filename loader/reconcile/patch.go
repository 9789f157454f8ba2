// This file says which prefixes of the kernel a change touches. A suspension touches
// what lies in it, and an entry the suspensions that lie in it.

package reconcile

import (
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// delta is what of the kernel's entries becomes of one state on the way to the next.
type delta struct {
	put    []policy.Entry
	remove []netip.Prefix
}

// deltaOf is the way from old to next, of which plan says what entries it changes. It
// reports false where that is no small change.
func deltaOf(old, next policy.State, plan policy.Plan) (d delta, small bool) {
	if plan.ServicesChanged || len(plan.Added)+len(plan.Changed)+len(plan.Removed) > few {
		return d, false
	}
	touched := map[netip.Prefix]bool{}
	for _, list := range [][]policy.Entry{plan.Added, plan.Changed, plan.Removed} {
		for i := range list {
			touched[list[i].Prefix] = true
		}
	}
	for _, states := range [][2]policy.State{{old, next}, {next, old}} {
		for p := range states[0].Suspended.Prefixes() {
			// Its own entry comes and goes with what is around it.
			was, stood := old.Enforced(p)
			is, stands := next.Enforced(p)
			if stood != stands || stood && !policy.KernelEqual(was, is) {
				touched[p] = true
			}
			if states[1].Suspended.Exactly(p) {
				continue
			}
			for e := range next.Entries.Under(p) {
				if old.Suspended.Covers(e.Prefix) != next.Suspended.Covers(e.Prefix) {
					touched[e.Prefix] = true
				}
				if len(touched) > few {
					return d, false
				}
			}
		}
	}
	for p := range touched {
		_, stood := old.Enforced(p)
		is, stands := next.Enforced(p)
		switch {
		case stands:
			d.put = append(d.put, is)
		case stood:
			d.remove = append(d.remove, p)
		}
	}
	return d, len(touched) <= few
}
