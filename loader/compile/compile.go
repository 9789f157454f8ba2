// Package compile turns what is desired into what the kernel is told: names become numbers,
// and wall time becomes time since boot.
package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

// Compiler has what the kernel's entries depend on beside what is desired.
type Compiler struct {
	Clock     Clock
	Owners    OwnerIDs
	Deadlines Deadlines
}

// Entry is e in the kernel, for one of services. It fails where the owner of e has no id
// or a service is not there.
func (c *Compiler) Entry(e policy.Entry, services []policy.Service) (maps.Entry, error) {
	out := maps.Entry{Prefix: e.Prefix, Owner: c.Owners.Of(e.Owner()), Services: maps.EveryService, Suspended: e.Suspended}
	if out.Owner == 0 && e.Owner() != "" {
		return maps.Entry{}, fmt.Errorf("owner %s has no id", e.Owner())
	}
	var fixed bool
	if out.Expires, fixed = c.Deadlines.of(e); !fixed {
		out.Expires = c.Clock.Boot(e.Until())
	}
	if len(e.Services()) > 0 {
		out.Services = 0
	}
	for _, name := range e.Services() {
		i := slices.IndexFunc(services, func(s policy.Service) bool { return s.Name == name })
		if i < 0 {
			return maps.Entry{}, fmt.Errorf("%s is for service %s, which does not exist", e.Prefix, name)
		}
		out.Services |= maps.ServiceBit(i + 1)
	}
	return out, nil
}

var scopes = map[policy.Scope]maps.Scope{
	policy.ScopeSYN:    maps.ScopeSYN,
	policy.ScopeStray:  maps.ScopeStray,
	policy.ScopeStrict: maps.ScopeStrict,
}

// Services are services in the kernel, in the same order, under audits.
func Services(services []policy.Service, audits desired.Audits) []maps.Service {
	out := make([]maps.Service, len(services))
	for i, s := range services {
		until := audits.Until(s)
		out[i] = maps.Service{
			TCP: s.Numbers(policy.TCP), UDP: s.Numbers(policy.UDP),
			Enforce: s.Mode == policy.Enforce && until == 0, Scope: scopes[s.Scope], AuditUntil: until,
		}
	}
	return out
}

// Policy is all of d in the kernel. Errors are those of Entry.
func (c *Compiler) Policy(d desired.State, generation uint64) (maps.Policy, error) {
	state := d.Policy
	entries := make([]maps.Entry, 0, state.Entries.Len())
	for e := range state.AllEnforced() {
		compiled, err := c.Entry(e, state.Services)
		if err != nil {
			return maps.Policy{}, err
		}
		entries = append(entries, compiled)
	}
	return maps.Policy{Generation: generation, Services: Services(state.Services, d.Audits), Entries: entries}, nil
}

// Apply brings the kernel from one state to the next: in place where only modes change, a patch
// where the change is small and safe as one, else a publish. It returns the entries that are gone
// or new in the kernel and had been used. On an error the kernel may be between the two.
func (c *Compiler) Apply(tables *maps.Tables, old, next desired.State, plan policy.Plan, generation uint64) ([]maps.Entry, error) {
	if plan.ServicesOnly() && SetModes(tables, old, next, generation) == nil {
		return nil, nil
	}
	put, remove, small, err := c.Patch(old.Policy, next.Policy, plan)
	if err != nil {
		return nil, err
	}
	var gone []maps.Entry
	if small {
		if gone, err = patched(tables, put, remove, generation); err == nil {
			return gone, nil
		}
		// Whatever kept the patch from being whole, a publish makes it so.
	}
	compiled, err := c.Policy(next, generation)
	if err != nil {
		return gone, err
	}
	used, err := tables.Publish(compiled)
	return append(gone, used...), err
}

// SetModes brings the kernel from one state to another that differs from it in modes, and in no
// entry. It returns maps.ErrPatch, having changed nothing, where other things of services differ,
// too: entries have the numbers of their services.
func SetModes(tables *maps.Tables, old, next desired.State, generation uint64) error {
	same := func(a, b policy.Service) bool {
		return a.Equal(policy.Service{Name: b.Name, Ports: b.Ports, Mode: a.Mode, Scope: b.Scope})
	}
	if !slices.EqualFunc(old.Policy.Services, next.Policy.Services, same) {
		return maps.ErrPatch
	}
	return tables.SetModes(Services(next.Policy.Services, next.Audits), generation)
}

// patched has tables make a patch in the way that is safe for so many entries.
func patched(tables *maps.Tables, put []maps.Entry, remove []netip.Prefix, generation uint64) ([]maps.Entry, error) {
	switch {
	case len(put)+len(remove) <= MaxPatch:
		return tables.Patch(put, remove, generation)
	case len(remove) == 0:
		return nil, tables.Grow(put, generation)
	}
	return tables.Shrink(remove, generation)
}

// Same reports whether the kernel has what d says, reading all of it back.
func (c *Compiler) Same(tables *maps.Tables, d desired.State) (bool, error) {
	if tables.Stale() {
		return false, nil
	}
	want, err := c.Policy(d, tables.Generation())
	if err != nil {
		return false, err
	}
	if same, err := tables.SameServices(want); !same || err != nil {
		return false, err
	}
	got, err := tables.Entries()
	if err != nil {
		return false, err
	}
	slices.SortFunc(want.Entries, func(a, b maps.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return slices.EqualFunc(got, want.Entries, Alike), nil
}

// OwnerRule is what holds in d for an owner, for the kernel.
func OwnerRule(d desired.State, owner string) maps.Owner {
	_, _, suspended := d.SuspensionOf(policy.Subject{Owner: owner})
	limit, _, _ := d.LimitOf(owner)
	return maps.Owner{Suspended: suspended, Limit: maps.Limit{PerSecond: limit.PerSecond, Burst: limit.Burst}}
}

// Families counts what the kernel is to have of IPv4 and IPv6: the entries, and
// the stops within them.
func Families(state policy.State) (counts [2]int) {
	counts[0], counts[1] = state.Entries.Families()
	for p := range state.Suspended.Stops() {
		if _, listed := state.Entries.Find(p); listed || !state.IsStop(p) {
			continue
		}
		if p.Addr().Is4() {
			counts[0]++
		} else {
			counts[1]++
		}
	}
	return counts
}

// Alike reports whether the kernel's entry decides as the desired one. A second is
// allowed for a deadline: each start reads the clocks anew.
func Alike(have, want maps.Entry) bool {
	const second = 1_000_000_000
	if (have.Expires == 0) == (want.Expires == 0) && max(have.Expires, want.Expires)-min(have.Expires, want.Expires) < second {
		have.Expires = want.Expires
	}
	return have.SamePolicy(want)
}
