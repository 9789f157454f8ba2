// This file keeps what the suspensions of owners hold, change by change: it is part of
// what is desired, and durable with the change that makes it.

package desired

import (
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// HoldOf is the suspension of an owner for the policy.
func HoldOf(s store.Suspension) policy.Hold {
	return policy.Hold{Owner: s.Owner, Nested: s.Nested, Held: s.Held, Stays: s.Stays}
}

// Holding is s with what h holds.
func Holding(s store.Suspension, h policy.Hold) store.Suspension {
	s.Unnoted, s.Nested, s.Held, s.Stays = false, h.Nested, h.Held, h.Stays
	return s
}

// HoldUnnoted is d where suspensions that an old release has made hold what d has of their
// owners.
func (d State) HoldUnnoted(now time.Time) State { return d.hold(d, policy.Plan{}, now) }

// hold is d where the suspensions of owners hold what plan, which leads from old to d, gives
// them, and what a suspension that is new, or of an old release, finds.
func (d State) hold(old State, plan policy.Plan, now time.Time) State {
	held := Edit{Fleets: map[policy.Origin]OverridesEdit{}}
	for origin, s := range d.EverySuspension {
		if s.Owner == "" {
			continue
		}
		h, changed := HoldOf(s), true
		if h.By = origin; s.Unnoted {
			h = d.Policy.Hold(s.Owner, s.Nested, now)
		} else {
			h, changed = h.Follow(old.Policy, d.Policy, plan, now)
		}
		if changed {
			by := held.Fleets[origin]
			by.Suspend = append(by.Suspend, Holding(s, h))
			held.Fleets[origin] = by
		}
	}
	held.Overrides = held.Fleets[policy.OriginCLI]
	delete(held.Fleets, policy.OriginCLI)
	return d.after(held)
}

// SuspendedSince are the suspensions of d that old did not have so, and those that edit
// names: what is to be recorded of the change from old to d.
func (d State) SuspendedSince(old State, edit Edit) (all []store.Suspension) {
	named := map[policy.Subject]bool{}
	for _, s := range edit.Overrides.Suspend {
		named[s.Subject] = true
	}
	for subject, s := range d.Suspensions {
		was, stood := old.Suspensions[subject]
		same := stood && was.Unnoted == s.Unnoted && slices.Equal(was.Held, s.Held) && slices.Equal(was.Stays, s.Stays)
		if named[subject] || !same {
			all = append(all, s)
		}
	}
	return all
}
