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
// them. A suspension that is another one than in old holds all that is its owner's now: it is new,
// or comes back, and lists from elsewhere have gone on meanwhile.
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
			before, plan := old.Policy, plan
			was, stood := old.said(origin).Suspensions[s.Subject]
			if !stood {
				before.Suspended = policy.NewSuspended(nil, []policy.Hold{h})
			}
			if !stood || !holdsSame(was, s) {
				plan = policy.Diff(policy.State{}, d.Policy)
			}
			h, changed = h.Follow(before, d.Policy, plan, now)
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

// holdsSame reports whether a and b, of one owner, hold the same.
func holdsSame(a, b store.Suspension) bool {
	return a.Unnoted == b.Unnoted && slices.Equal(a.Held, b.Held) && slices.Equal(a.Stays, b.Stays)
}

// SuspendedSince are the suspensions of d that edit has made, and the others that hold something
// else than in old.
func (d State) SuspendedSince(old State, edit OverridesEdit) (asked, held []store.Suspension) {
	named := map[policy.Subject]bool{}
	for _, s := range edit.Suspend {
		named[s.Subject] = true
	}
	for subject, s := range d.Suspensions {
		if named[subject] {
			asked = append(asked, s)
		} else if !holdsSame(old.Suspensions[subject], s) {
			held = append(held, s)
		}
	}
	return asked, held
}
