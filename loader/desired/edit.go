// This file makes the next state from this one and an edit.

package desired

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Edit is what a change makes of what is desired. Either what is declared changes, or
// what kept origins claim; its zero value changes nothing.
type Edit struct {
	Services  []policy.Service                 // nil keeps them
	Declared  map[policy.Origin][]policy.Claim // nil keeps them
	Claims    policy.Edit                      // of kept origins
	Overrides OverridesEdit                    // of commands
	Fleets    map[policy.Origin]OverridesEdit  // of followed lists
	Audits    Audits                           // nil keeps them
	Whole     bool                             // merge everything, whatever it names
}

// OnlyOverrides reports whether e suspends, resumes or limits, and does nothing else.
func (e Edit) OnlyOverrides() bool {
	return !e.Overrides.Empty() && e.Claims.Empty() && e.Declared == nil && e.Services == nil && e.Audits == nil
}

// Overrules reports whether e changes what is said over all origins.
func (e Edit) Overrules() bool { return !e.Overrides.Empty() || len(e.Fleets) > 0 }

// Owners yields the owners whom e suspends, resumes or limits, some twice.
func (e Edit) Owners(yield func(string) bool) {
	for _, by := range append(slices.Collect(maps.Values(e.Fleets)), e.Overrides) {
		for name := range by.Owners {
			if !yield(name) {
				return
			}
		}
	}
}

// OwnersWith are the owners that e names, and those of what plan, which is its effect,
// adds or changes.
func (e Edit) OwnersWith(plan policy.Plan) map[string]bool {
	names := map[string]bool{}
	for _, list := range [][]policy.Entry{plan.Added, plan.Changed} {
		for i := range list {
			names[list[i].Owner()] = true
		}
	}
	for name := range e.Owners {
		names[name] = true
	}
	return names
}

// Apply returns what edit makes of d at now, which is boot by CLOCK_BOOTTIME, and the
// difference. Errors are those of policy.CheckServices and policy.Merge.
func (d State) Apply(edit Edit, now time.Time, boot time.Duration) (State, policy.Plan, error) {
	next, plan, err := d.withClaims(edit, now)
	if err != nil {
		return d, plan, err
	}
	next = next.after(edit).hold(d, plan, now)
	plan.SuspendedChanged = !d.Policy.Suspended.Equal(next.Policy.Suspended)
	if next.Audits = d.Audits; edit.Audits != nil {
		plan.ServicesChanged = plan.ServicesChanged || !maps.Equal(edit.Audits, d.Audits)
		next.Audits = edit.Audits
	}
	if len(plan.Services) > 0 {
		plan.Opens = d.opens(next, boot)
	}
	return next, plan, nil
}

// Expire merges again what has a claim that has ended at now beside another, which then
// decides alone. What is suspended stays as it is.
func (d State) Expire(now time.Time) (next State, plan policy.Plan) {
	next = d
	next.Policy, plan, next.NextEnd = d.Policy.Expire(now)
	next.Counts = next.countedAfter(policy.Edit{}, plan, d)
	return next, plan
}

// withClaims is d with the edit's claims and services. An edit of services or of what is
// declared merges everything again, any other the prefixes that it names.
func (d State) withClaims(edit Edit, now time.Time) (State, policy.Plan, error) {
	if !d.Rebuilds(edit) {
		if edit.Claims.Empty() && (edit.Overrules() || edit.Audits != nil) { // what has ended is looked after elsewhere
			return d, policy.Plan{}, nil
		}
		return d.withKept(edit.Claims, now)
	}
	services, declared := d.Policy.Services, d.declared
	if edit.Services != nil {
		services = edit.Services
	}
	if edit.Declared != nil {
		declared = edit.Declared
	}
	var kept []policy.Claim
	edited := map[policy.ClaimKey]bool{}
	for key := range edit.Claims.Keys() {
		edited[key] = true
	}
	for claim := range d.kept {
		if !edited[claim.Key()] {
			kept = append(kept, claim)
		}
	}
	next, err := New(services, declared, append(kept, edit.Claims.Put...), now)
	if err != nil {
		return d, policy.Plan{}, err
	}
	next.Overrides, next.Fleets, next.Policy.Suspended, next.Expected = d.Overrides, d.Fleets, d.Policy.Suspended, d.Expected
	return next, policy.Diff(d.Policy, next.Policy), nil
}

// Rebuilds reports whether edit changes services, or what is declared, if only the lines
// where it stands: then everything is merged again.
func (d State) Rebuilds(edit Edit) bool {
	same := func(a, b policy.Claim) bool {
		return a.Prefix == b.Prefix && a.Where == b.Where && policy.SameWords(a, b)
	}
	return edit.Whole ||
		edit.Services != nil && !slices.EqualFunc(edit.Services, d.Policy.Services, policy.Service.Equal) ||
		edit.Declared != nil && !maps.EqualFunc(edit.Declared, d.declared, func(a, b []policy.Claim) bool { return slices.EqualFunc(a, b, same) })
}

// withKept is d after an edit of what kept origins claim.
func (d State) withKept(edit policy.Edit, now time.Time) (State, policy.Plan, error) {
	if edit.Empty() { // what was read says what it said, and time has gone by
		next, plan := d.Expire(now)
		return next, plan, nil
	}
	next := d
	next.orphans, edit = d.orphans.after(edit, d.Policy.Services)
	if err := policy.CheckServices(edit.Put, d.Policy.Services); err != nil {
		return d, policy.Plan{}, err
	}
	var plan policy.Plan
	var err error
	if next.Policy, plan, err = d.Policy.Edit(edit, now); err != nil {
		return d, plan, err
	}
	for entry := range next.touched(edit) {
		if entry.Several() {
			next.NextEnd = policy.Earliest(next.NextEnd, policy.NextEnd(entry.Claims(), now))
		}
	}
	next.Counts = next.countedAfter(edit, plan, d)
	return next, plan, nil
}

// many reports whether edit names so much of d that to walk over all entries takes less than to
// find those that it names.
func (d State) many(edit policy.Edit) bool {
	return len(edit.Put)+len(edit.Remove) > d.Policy.Entries.Len()/8
}

// touched yields the entries at the prefixes that edit names, or all where these are many.
func (d State) touched(edit policy.Edit) iter.Seq[*policy.Entry] {
	if d.many(edit) {
		return d.Policy.Entries.All()
	}
	return func(yield func(*policy.Entry) bool) {
		for prefix := range edit.Prefixes() {
			if entry, found := d.Policy.Entries.Find(prefix); found && !yield(entry) {
				return
			}
		}
	}
}

// after returns o after edit, and of edit what is left to do to the entries: a claim from
// elsewhere for a service that is not there becomes an orphan. One of the CLI is left to be
// refused: it was typed.
func (o orphans) after(edit policy.Edit, services []policy.Service) (orphans, policy.Edit) {
	own := map[policy.Origin]bool{} // whose claims are not shared with others
	write := func(origin policy.Origin) map[netip.Prefix]policy.Claim {
		if len(own) == 0 {
			o = copied(o)
		}
		if !own[origin] {
			o[origin], own[origin] = copied(o[origin]), true
		}
		return o[origin]
	}
	for key := range edit.Keys() {
		if _, found := o[key.Origin][key.Prefix]; found {
			delete(write(key.Origin), key.Prefix)
		}
	}
	isOrphan := func(c policy.Claim) bool { return c.Origin != policy.OriginCLI && IsOrphan(c, services) }
	if !slices.ContainsFunc(edit.Put, isOrphan) {
		return o, edit
	}
	left, last := policy.Edit{Remove: slices.Clone(edit.Remove)}, map[policy.ClaimKey]int{}
	for i, c := range edit.Put {
		last[c.Key()] = i
	}
	for i, c := range edit.Put {
		if last[c.Key()] != i {
			continue
		}
		if isOrphan(c) {
			write(c.Origin)[c.Prefix] = c
			left.Remove = append(left.Remove, c.Key())
		} else {
			left.Put = append(left.Put, c)
		}
	}
	return o, left
}

// copied is a copy of m to be written to, also where m is nil.
func copied[K comparable, V any](m map[K]V) map[K]V {
	all := make(map[K]V, len(m))
	maps.Copy(all, m)
	return all
}
