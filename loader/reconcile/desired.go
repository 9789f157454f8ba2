package reconcile

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file holds what is desired, and makes the next of it. Nothing here is changed
// once it stands: what stood before a change is kept until the change is made, and
// written to disk while the next one is under way.

// desired is the state, and the claims that are not to be seen in it. The claims of
// the CLI are those of its entries, and the orphans.
type desired struct {
	state    policy.State
	declared map[policy.Origin][]policy.Claim // flag and files, as last taken over
	orphans  map[netip.Prefix]policy.Claim    // of the CLI, for services that are not there
	overrides
	audits audits // laid over the modes of the services
}

// made yields every claim of the CLI, the enforced ones sorted by ComparePrefix.
func (d desired) made(yield func(*policy.Claim) bool) {
	for entry := range d.state.Entries.All() {
		if claim := madeBy(entry); claim != nil && !yield(claim) {
			return
		}
	}
	for _, claim := range d.orphans {
		if !yield(&claim) {
			return
		}
	}
}

// origins counts what each origin claims, of which made are the CLI's.
func (d desired) origins(made int) map[policy.Origin]int {
	counts := map[policy.Origin]int{}
	for origin, claims := range d.declared {
		counts[origin] = len(claims)
	}
	if made > 0 {
		counts[policy.OriginCLI] = made
	}
	return counts
}

// makes reports whether the CLI claims prefix.
func (d desired) makes(prefix netip.Prefix) bool {
	return d.claimed(prefix) != nil
}

// claimed is what the CLI claims of prefix; nil is nothing.
func (d desired) claimed(prefix netip.Prefix) *policy.Claim {
	if claim, orphan := d.orphans[prefix]; orphan {
		return &claim
	}
	if entry, found := d.state.Entries.Find(prefix); found {
		return madeBy(entry)
	}
	return nil
}

// madeBy is the claim of the CLI among those of entry, or nil.
func madeBy(entry *policy.Entry) *policy.Claim {
	for i := range entry.Claims {
		if entry.Claims[i].Origin == policy.OriginCLI {
			return &entry.Claims[i]
		}
	}
	return nil
}

// all is every claim there is, those of the CLI first: they are many and sorted.
func (d desired) all() []*policy.Claim {
	all := slices.AppendSeq(make([]*policy.Claim, 0, d.state.Entries.Len()), d.made)
	for _, claims := range d.declared {
		for i := range claims {
			all = append(all, &claims[i])
		}
	}
	return all
}

// Edit is what a change makes of what is desired. Either what is declared changes, or
// what the CLI claims.
type Edit struct {
	Services  []policy.Service                 // nil keeps them
	Declared  map[policy.Origin][]policy.Claim // nil keeps them
	Claims    policy.Edit                      // of the CLI
	Overrides overriding                       // of both, and rates; see store.Change
	Audits    audits                           // nil keeps them
	Whole     bool                             // merge everything, whatever it names
}

// onlyOverrides reports whether c suspends, resumes or limits, and does nothing else.
func (c Edit) onlyOverrides() bool {
	return !c.Overrides.empty() && c.Claims.Empty() && c.Declared == nil && c.Services == nil && c.Audits == nil
}

// next is what c makes of d at now, which is boot by CLOCK_BOOTTIME.
func (d desired) next(c Edit, now time.Time, boot time.Duration) (desired, policy.Plan, error) {
	next, plan, err := d.said(c, now)
	if err != nil {
		return d, plan, err
	}
	if !c.Overrides.empty() {
		next.override(d.overrides.after(c.Overrides))
	}
	next.follow(d, plan, now)
	plan.SuspendedChanged = !d.state.Suspended.Equal(next.state.Suspended)
	if next.audits = d.audits; c.Audits != nil {
		plan.ServicesChanged = plan.ServicesChanged || !maps.Equal(c.Audits, d.audits)
		next.audits = c.Audits
	}
	if len(plan.Services) > 0 {
		plan.Opens = d.opens(next, boot)
	}
	return next, plan, nil
}

// said is d after what c does to what origins say. A change of services or of what is
// declared merges everything again, any other the prefixes that it names.
func (d desired) said(c Edit, now time.Time) (desired, policy.Plan, error) {
	if d.same(c) {
		if c.Claims.Empty() && !c.Overrides.empty() { // time is looked after elsewhere
			return d, policy.Plan{}, nil
		}
		return d.edited(c.Claims, now)
	}
	services, declared := d.state.Services, d.declared
	if c.Services != nil {
		services = c.Services
	}
	if c.Declared != nil {
		declared = c.Declared
	}
	var made []policy.Claim
	edited := map[netip.Prefix]bool{}
	for prefix := range c.Claims.Prefixes() {
		edited[prefix] = true
	}
	for claim := range d.made {
		if !edited[claim.Prefix] {
			made = append(made, *claim)
		}
	}
	next, err := desire(services, declared, append(made, c.Claims.Put...), now)
	if err != nil {
		return d, policy.Plan{}, err
	}
	next.overrides, next.state.Suspended = d.overrides, d.state.Suspended
	return next, policy.Diff(d.state, next.state), nil
}

// override puts o over what origins say.
func (d *desired) override(o overrides) {
	d.overrides, d.state.Suspended = o, o.stopped()
}

// same reports whether c leaves services and all that is declared as they are, down
// to the lines where they stand.
func (d desired) same(c Edit) bool {
	sameWords := func(a, b policy.Claim) bool {
		return a.Prefix == b.Prefix && a.Where == b.Where && policy.SameWords(a, b)
	}
	return !c.Whole && (c.Services == nil || slices.EqualFunc(c.Services, d.state.Services, policy.Service.Equal)) &&
		(c.Declared == nil || maps.EqualFunc(c.Declared, d.declared, func(a, b []policy.Claim) bool { return slices.EqualFunc(a, b, sameWords) }))
}

// edited is d after an edit of what the CLI claims.
func (d desired) edited(edit policy.Edit, now time.Time) (next desired, plan policy.Plan, err error) {
	next = d
	if edit.Empty() { // what was read says what it said, and time has gone by
		next.state, plan, _ = d.state.Expire(now)
		return next, plan, nil
	}
	if err := policy.CheckServices(edit.Put, d.state.Services); err != nil {
		return d, plan, err
	}
	if len(d.orphans) > 0 {
		next.orphans = maps.Clone(d.orphans)
		for prefix := range edit.Prefixes() {
			delete(next.orphans, prefix)
		}
	}
	next.state, plan, err = d.state.Edit(edit, now)
	return next, plan, err
}

// desire makes the state of all claims; made, those of the CLI, belongs to it from
// then on. A claim of the CLI for a service that the flags or the config file no
// longer make is kept and left out: nobody can take it away while no daemon runs, so
// it must not keep one from running.
func desire(services []policy.Service, declared map[policy.Origin][]policy.Claim, made []policy.Claim, now time.Time) (desired, error) {
	d := desired{declared: declared, orphans: map[netip.Prefix]policy.Claim{}}
	claims := slices.DeleteFunc(made, func(c policy.Claim) bool {
		if !orphaned(c, services) {
			return false
		}
		d.orphans[c.Prefix] = c
		return true
	})
	for _, list := range declared {
		claims = append(claims, list...)
	}
	if err := policy.CheckServices(claims, services); err != nil {
		return desired{}, err
	}
	entries, err := policy.Merge(claims, now)
	d.state = policy.State{Services: services, Entries: policy.NewEntries(entries)}
	return d, err
}

// orphaned reports whether a claim of the CLI names a service that is not there.
func orphaned(c policy.Claim, services []policy.Service) bool {
	return slices.ContainsFunc(c.Services, func(name string) bool {
		return !slices.ContainsFunc(services, func(s policy.Service) bool { return s.Name == name })
	})
}

// endedMade yields the prefixes whose claim by the CLI has ended at now, sorted as the
// CLI's claims are.
func (d desired) endedMade(now time.Time) func(yield func(*policy.Claim) bool) {
	return func(yield func(*policy.Claim) bool) {
		for claim := range d.made {
			if !claim.Until.IsZero() && !claim.Until.After(now) && !yield(claim) {
				return
			}
		}
	}
}

// ownersOf adds the owners that a change brings.
func (c Edit) ownersOf(plan policy.Plan) map[string]bool {
	names := map[string]bool{}
	for _, list := range [][]policy.Entry{plan.Added, plan.Changed} {
		for i := range list {
			names[list[i].Owner] = true
		}
	}
	for name := range c.Overrides.owners {
		names[name] = true
	}
	return names
}
