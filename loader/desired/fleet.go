// This file lays what lists of a fleet say of prefixes and owners beside what commands here say. Each
// stops for itself, and of several limits the lowest counts: neither lets in whom the other stops.

package desired

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// layers yields what commands here say, then what each followed list does, the strongest first.
func (d State) layers(yield func(policy.Origin, Overrides) bool) {
	if !yield(policy.OriginCLI, d.Overrides) {
		return
	}
	for _, origin := range slices.SortedFunc(maps.Keys(d.Fleets), policy.CompareStrength) {
		if !yield(origin, d.Fleets[origin]) {
			return
		}
	}
}

// With is d under other overrides of commands.
func (d State) With(o Overrides) State { return d.under(o, d.Fleets) }

// WithFleets is d under other overrides of followed lists.
func (d State) WithFleets(fleets map[policy.Origin]Overrides) State {
	return d.under(d.Overrides, fleets)
}

func (d State) under(o Overrides, fleets map[policy.Origin]Overrides) State {
	d.Overrides, d.Fleets = o, fleets
	var prefixes []netip.Prefix
	var owners []policy.Hold
	for origin, s := range d.EverySuspension {
		if s.Owner == "" {
			prefixes = append(prefixes, s.Prefix)
			continue
		}
		h := HoldOf(s)
		h.By = origin
		owners = append(owners, h)
	}
	d.Policy.Suspended = policy.NewSuspended(prefixes, owners)
	return d
}

// after is d after what an edit does to overrides.
func (d State) after(edit Edit) State {
	if !edit.Overrules() {
		return d
	}
	fleets := d.Fleets
	if len(edit.Fleets) > 0 {
		fleets = copied(fleets)
	}
	for origin, by := range edit.Fleets {
		if fleets[origin] = fleets[origin].After(by); fleets[origin].Empty() {
			delete(fleets, origin)
		}
	}
	return d.under(d.Overrides.After(edit.Overrides), fleets)
}

// said is what origin says over all origins.
func (d State) said(origin policy.Origin) Overrides {
	if origin == policy.OriginCLI {
		return d.Overrides
	}
	return d.Fleets[origin]
}

// EverySuspension yields each suspension and who says it, in the order of layers; some subjects twice.
func (d State) EverySuspension(yield func(policy.Origin, store.Suspension) bool) {
	for origin, o := range d.layers {
		for _, s := range o.SortedSuspensions() {
			if !yield(origin, s) {
				return
			}
		}
	}
}

// SuspensionOf is what stops s by its own name, and who says so: a command here, if one does.
func (d State) SuspensionOf(s policy.Subject) (by store.Suspension, origin policy.Origin, found bool) {
	for origin, o := range d.layers {
		if by, found := o.Suspensions[s]; found {
			return by, origin, true
		}
	}
	return by, "", false
}

// LimitOf is the limit that owner has, the lowest, and who says so.
func (d State) LimitOf(owner string) (lowest store.Limit, by policy.Origin, found bool) {
	for origin, o := range d.layers {
		l, limited := o.Limits[owner]
		if limited && (!found || cmp.Or(cmp.Compare(l.PerSecond, lowest.PerSecond), cmp.Compare(l.Burst, lowest.Burst)) < 0) {
			lowest, by, found = l, origin, true
		}
	}
	return lowest, by, found
}

// NamedOwners yields every owner whom overrides name, some twice.
func (d State) NamedOwners(yield func(string) bool) {
	for _, o := range d.layers {
		for name := range o.NamedOwners {
			if !yield(name) {
				return
			}
		}
	}
}

// Limited counts the owners who have a limit.
func (d State) Limited() int {
	owners := map[string]bool{}
	for _, o := range d.layers {
		for owner := range o.Limits {
			owners[owner] = true
		}
	}
	return len(owners)
}

// Say is the edit after which a followed list says exactly this over all origins. A suspension that
// goes on holds what it held, and only its end, which is another time or no nested, loosens it.
func (d State) Say(origin policy.Origin, suspensions []store.Suspension, limits []store.Limit) (by OverridesEdit) {
	was, is := d.Fleets[origin], Overrides{}.After(OverridesEdit{Suspend: suspensions, Limit: limits})
	by = was.Toward(is)
	for _, s := range is.SortedSuspensions() {
		before, again := was.Suspensions[s.Subject]
		again = again && before.Time.Equal(s.Time) && (s.Nested || !before.Nested)
		switch {
		case again && before.Reason == s.Reason && before.Nested == s.Nested:
			continue
		case again && s.Nested == before.Nested:
			s = Holding(s, HoldOf(before))
		case again: // nothing stays any longer
			s = Holding(s, policy.Hold{Nested: true, Held: before.Held})
		default:
			s.Unnoted = s.Owner != ""
		}
		by.Suspend = append(by.Suspend, s)
	}
	return by
}

// Unsay is the edit after which origins say nothing over others, and claim nothing.
func (d State) Unsay(origins []policy.Origin) (edit Edit) {
	edit.Claims, edit.Fleets = d.forget(origins), map[policy.Origin]OverridesEdit{}
	for _, origin := range origins {
		if by := d.Say(origin, nil, nil); !by.Empty() {
			edit.Fleets[origin] = by
		}
	}
	return edit
}

// Keep is state, which is kept of origin, with what it says over all origins.
func (d State) Keep(origin policy.Origin, state store.OriginState) store.OriginState {
	o := d.Fleets[origin]
	state.Suspended, state.Limits = o.SortedSuspensions(), nil
	for _, owner := range slices.Sorted(maps.Keys(o.Limits)) {
		state.Limits = append(state.Limits, o.Limits[owner])
	}
	return state
}

// FleetLines are what e does to what lists say over all origins, in words; was is the state before.
func (e Edit) FleetLines(was State) (lines []string) {
	for _, origin := range slices.Sorted(maps.Keys(e.Fleets)) {
		for _, line := range e.Fleets[origin].Lines(was.Fleets[origin]) {
			lines = append(lines, line+" ("+string(origin)+")")
		}
	}
	return lines
}

// SaidSince yields the followed lists that say something else over others than in old.
func (d State) SaidSince(old State) iter.Seq[policy.Origin] {
	return func(yield func(policy.Origin) bool) {
		all := copied(old.Fleets)
		maps.Copy(all, d.Fleets)
		for origin := range all {
			if !d.Fleets[origin].same(old.Fleets[origin]) && !yield(origin) {
				return
			}
		}
	}
}

// Hasty splits o into what stops somebody or limits him more, which must not wait for a long list,
// and the rest. was is what stood before.
func (o OverridesEdit) Hasty(was Overrides) (hasty, rest OverridesEdit) {
	hasty.Suspend = o.Suspend
	rest.Resume, rest.Unlimit = o.Resume, o.Unlimit
	for _, l := range o.Limit {
		if before, limited := was.Limits[l.Owner]; limited && l.PerSecond > before.PerSecond {
			rest.Limit = append(rest.Limit, l)
		} else {
			hasty.Limit = append(hasty.Limit, l)
		}
	}
	return hasty, rest
}
