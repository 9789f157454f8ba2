// This file keeps what the suspensions of owners hold, change by change: it is part of
// what is desired, and durable with the change that makes it.

package reconcile

import (
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// holdOf is the suspension of an owner for the policy.
func holdOf(s store.Suspension) policy.Hold {
	return policy.Hold{Owner: s.Owner, Nested: s.Nested, Held: s.Held, Stays: s.Stays}
}

// holding is s with what h holds.
func holding(s store.Suspension, h policy.Hold) store.Suspension {
	s.Unnoted, s.Nested, s.Held, s.Stays = false, h.Nested, h.Held, h.Stays
	return s
}

// follow has the suspensions of owners hold what plan, which leads from old to d, gives
// them, and what a suspension that is new, or of an old release, finds.
func (d *desired) follow(old desired, plan policy.Plan, now time.Time) {
	held := overriding{}
	for _, s := range d.suspended {
		if s.Owner == "" {
			continue
		}
		if s.Unnoted {
			held.suspend = append(held.suspend, holding(s, d.state.Hold(s.Owner, s.Nested, now)))
		} else if h, changed := holdOf(s).Follow(old.state, d.state, plan, now); changed {
			held.suspend = append(held.suspend, holding(s, h))
		}
	}
	if !held.empty() {
		d.override(d.overrides.after(held))
	}
}

// suspendedSince are the suspensions of d that old did not have so, and those that c
// names: what is to be recorded of the change from old to d.
func (d desired) suspendedSince(old desired, c Edit) (all []store.Suspension) {
	named := map[store.Subject]bool{}
	for _, s := range c.Overrides.suspend {
		named[s.Subject] = true
	}
	for subject, s := range d.suspended {
		was, stood := old.suspended[subject]
		same := stood && was.Unnoted == s.Unnoted && slices.Equal(was.Held, s.Held) && slices.Equal(was.Stays, s.Stays)
		if named[subject] || !same {
			all = append(all, s)
		}
	}
	return all
}
