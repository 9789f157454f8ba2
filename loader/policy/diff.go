// This file compares two states, for the guard rails, for --dry-run and for the choice between
// publish and patch.

package policy

import (
	"iter"
	"net/netip"
	"slices"
)

// Plan is the difference between two states. Each list is sorted by
// ComparePrefix.
type Plan struct {
	Added           []Entry
	Removed         []Entry // as they were
	Changed         []Entry // as they are afterwards
	Was             []Entry // those of Changed as they were, in the same order
	ServicesChanged bool    // ports, modes or scopes

	Services []ServiceChange // sorted by name; none where only a timed audit has changed
	Opens    []Opening       // what Services open, sorted by ComparePort

	SuspendedChanged bool // who is suspended
}

// Empty reports whether there is no difference that anybody could see. Claims may differ all
// the same: different claims can make the same entry.
func (p Plan) Empty() bool {
	return len(p.Added)+len(p.Removed)+len(p.Changed) == 0 && !p.ServicesChanged && !p.SuspendedChanged
}

// ServicesOnly reports whether p changes services, and neither an entry nor who is suspended.
func (p Plan) ServicesOnly() bool {
	return len(p.Added)+len(p.Removed)+len(p.Changed) == 0 && p.ServicesChanged && !p.SuspendedChanged
}

// Diff compares two states in one walk over both. For a change that names its prefixes
// State.Edit returns the plan without that walk.
func Diff(old, new State) Plan {
	plan := Plan{
		ServicesChanged:  !slices.EqualFunc(old.Services, new.Services, Service.Equal),
		SuspendedChanged: !old.Suspended.Equal(new.Suspended),
		Services:         DiffServices(old.Services, new.Services), Opens: Openings(old.Services, new.Services),
	}
	before, after := slices.Collect(old.Entries.All()), slices.Collect(new.Entries.All())
	for len(before) > 0 && len(after) > 0 {
		switch order := ComparePrefix(before[0].Prefix, after[0].Prefix); {
		case order < 0:
			plan.Removed, before = append(plan.Removed, *before[0]), before[1:]
		case order > 0:
			plan.Added, after = append(plan.Added, *after[0]), after[1:]
		default:
			if before[0] != after[0] && !before[0].Equal(*after[0]) {
				plan.Changed, plan.Was = append(plan.Changed, *after[0]), append(plan.Was, *before[0])
			}
			before, after = before[1:], after[1:]
		}
	}
	for _, e := range before {
		plan.Removed = append(plan.Removed, *e)
	}
	for _, e := range after {
		plan.Added = append(plan.Added, *e)
	}
	return plan
}

// Prefixes yields the prefixes of the entries that p adds, changes or removes, each once.
func (p Plan) Prefixes() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, entries := range [][]Entry{p.Added, p.Changed, p.Removed} {
			for i := range entries {
				if !yield(entries[i].Prefix) {
					return
				}
			}
		}
	}
}
