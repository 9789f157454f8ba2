// Package desired says what is to be enforced, and makes the next of it from this one and an
// edit. It reads no clock, file or map of the kernel.
package desired

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
type State struct {
	Policy   policy.State
	Declared map[policy.Origin][]policy.Claim // flag and files, as last taken over
	Orphans  map[netip.Prefix]policy.Claim    // of the CLI, for services that are not there
	Overrides
	Audits Audits // laid over the modes of the services
}

// made yields every claim of the CLI, the enforced ones sorted by ComparePrefix.
func (d State) Made(yield func(*policy.Claim) bool) {
	for entry := range d.Policy.Entries.All() {
		if claim := MadeBy(entry); claim != nil && !yield(claim) {
			return
		}
	}
	for _, claim := range d.Orphans {
		if !yield(&claim) {
			return
		}
	}
}

// origins counts what each origin claims, of which made are the CLI's.
func (d State) Origins(made int) map[policy.Origin]int {
	counts := map[policy.Origin]int{}
	for origin, claims := range d.Declared {
		counts[origin] = len(claims)
	}
	if made > 0 {
		counts[policy.OriginCLI] = made
	}
	return counts
}

// makes reports whether the CLI claims prefix.
func (d State) Makes(prefix netip.Prefix) bool {
	return d.Claimed(prefix) != nil
}

// claimed is what the CLI claims of prefix; nil is nothing.
func (d State) Claimed(prefix netip.Prefix) *policy.Claim {
	if claim, orphan := d.Orphans[prefix]; orphan {
		return &claim
	}
	if entry, found := d.Policy.Entries.Find(prefix); found {
		return MadeBy(entry)
	}
	return nil
}

// madeBy is the claim of the CLI among those of entry, or nil.
func MadeBy(entry *policy.Entry) *policy.Claim {
	for i := range entry.Claims {
		if entry.Claims[i].Origin == policy.OriginCLI {
			return &entry.Claims[i]
		}
	}
	return nil
}

// all is every claim there is, those of the CLI first: they are many and sorted.
func (d State) AllClaims() []*policy.Claim {
	all := slices.AppendSeq(make([]*policy.Claim, 0, d.Policy.Entries.Len()), d.Made)
	for _, claims := range d.Declared {
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
	Overrides OverridesEdit                    // of both, and rates; see store.Change
	Audits    Audits                           // nil keeps them
	Whole     bool                             // merge everything, whatever it names
}

// onlyOverrides reports whether c suspends, resumes or limits, and does nothing else.
func (c Edit) OnlyOverrides() bool {
	return !c.Overrides.Empty() && c.Claims.Empty() && c.Declared == nil && c.Services == nil && c.Audits == nil
}

// next is what c makes of d at now, which is boot by CLOCK_BOOTTIME.
func (d State) Apply(c Edit, now time.Time, boot time.Duration) (State, policy.Plan, error) {
	next, plan, err := d.said(c, now)
	if err != nil {
		return d, plan, err
	}
	if !c.Overrides.Empty() {
		next.Override(d.Overrides.After(c.Overrides))
	}
	next.Follow(d, plan, now)
	plan.SuspendedChanged = !d.Policy.Suspended.Equal(next.Policy.Suspended)
	if next.Audits = d.Audits; c.Audits != nil {
		plan.ServicesChanged = plan.ServicesChanged || !maps.Equal(c.Audits, d.Audits)
		next.Audits = c.Audits
	}
	if len(plan.Services) > 0 {
		plan.Opens = d.opens(next, boot)
	}
	return next, plan, nil
}

// said is d after what c does to what origins say. A change of services or of what is
// declared merges everything again, any other the prefixes that it names.
func (d State) said(c Edit, now time.Time) (State, policy.Plan, error) {
	if d.Same(c) {
		if c.Claims.Empty() && !c.Overrides.Empty() { // time is looked after elsewhere
			return d, policy.Plan{}, nil
		}
		return d.edited(c.Claims, now)
	}
	services, declared := d.Policy.Services, d.Declared
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
	for claim := range d.Made {
		if !edited[claim.Prefix] {
			made = append(made, *claim)
		}
	}
	next, err := New(services, declared, append(made, c.Claims.Put...), now)
	if err != nil {
		return d, policy.Plan{}, err
	}
	next.Overrides, next.Policy.Suspended = d.Overrides, d.Policy.Suspended
	return next, policy.Diff(d.Policy, next.Policy), nil
}

// override puts o over what origins say.
func (d *State) Override(o Overrides) {
	d.Overrides, d.Policy.Suspended = o, o.stopped()
}

// same reports whether c leaves services and all that is declared as they are, down
// to the lines where they stand.
func (d State) Same(c Edit) bool {
	sameWords := func(a, b policy.Claim) bool {
		return a.Prefix == b.Prefix && a.Where == b.Where && policy.SameWords(a, b)
	}
	return !c.Whole && (c.Services == nil || slices.EqualFunc(c.Services, d.Policy.Services, policy.Service.Equal)) &&
		(c.Declared == nil || maps.EqualFunc(c.Declared, d.Declared, func(a, b []policy.Claim) bool { return slices.EqualFunc(a, b, sameWords) }))
}

// edited is d after an edit of what the CLI claims.
func (d State) edited(edit policy.Edit, now time.Time) (next State, plan policy.Plan, err error) {
	next = d
	if edit.Empty() { // what was read says what it said, and time has gone by
		next.Policy, plan, _ = d.Policy.Expire(now)
		return next, plan, nil
	}
	if err := policy.CheckServices(edit.Put, d.Policy.Services); err != nil {
		return d, plan, err
	}
	if len(d.Orphans) > 0 {
		next.Orphans = maps.Clone(d.Orphans)
		for prefix := range edit.Prefixes() {
			delete(next.Orphans, prefix)
		}
	}
	next.Policy, plan, err = d.Policy.Edit(edit, now)
	return next, plan, err
}

// desire makes the state of all claims; made, those of the CLI, belongs to it from
// then on. A claim of the CLI for a service that the flags or the config file no
// longer make is kept and left out: nobody can take it away while no daemon runs, so
// it must not keep one from running.
func New(services []policy.Service, declared map[policy.Origin][]policy.Claim, made []policy.Claim, now time.Time) (State, error) {
	d := State{Declared: declared, Orphans: map[netip.Prefix]policy.Claim{}}
	claims := slices.DeleteFunc(made, func(c policy.Claim) bool {
		if !Orphaned(c, services) {
			return false
		}
		d.Orphans[c.Prefix] = c
		return true
	})
	for _, list := range declared {
		claims = append(claims, list...)
	}
	if err := policy.CheckServices(claims, services); err != nil {
		return State{}, err
	}
	entries, err := policy.Merge(claims, now)
	d.Policy = policy.State{Services: services, Entries: policy.NewEntries(entries)}
	return d, err
}

// orphaned reports whether a claim of the CLI names a service that is not there.
func Orphaned(c policy.Claim, services []policy.Service) bool {
	return slices.ContainsFunc(c.Services, func(name string) bool {
		return !slices.ContainsFunc(services, func(s policy.Service) bool { return s.Name == name })
	})
}

// endedMade yields the prefixes whose claim by the CLI has ended at now, sorted as the
// CLI's claims are.
func (d State) EndedMade(now time.Time) func(yield func(*policy.Claim) bool) {
	return func(yield func(*policy.Claim) bool) {
		for claim := range d.Made {
			if !claim.Until.IsZero() && !claim.Until.After(now) && !yield(claim) {
				return
			}
		}
	}
}

// ownersOf adds the owners that a change brings.
func (c Edit) OwnersWith(plan policy.Plan) map[string]bool {
	names := map[string]bool{}
	for _, list := range [][]policy.Entry{plan.Added, plan.Changed} {
		for i := range list {
			names[list[i].Owner] = true
		}
	}
	for name := range c.Overrides.Owners {
		names[name] = true
	}
	return names
}
