// Package desired says what is to be enforced, and makes the next of it from this one and an
// edit. It reads no clock, file or map of the kernel.
package desired

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/counts"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// State is what is desired: who may connect to which service, and what that was made of.
// It is a value, and nothing in it changes once it stands: it may be read without a lock,
// and what stood before a change is there until the change is made.
type State struct {
	Policy    policy.State
	Overrides               // of commands, laid over what origins say of prefixes and owners
	Audits    Audits        // laid over the modes of the services
	Counts    counts.Counts // of the entries and claims
	NextEnd   time.Time     // when to call Expire: then or later a claim ends beside another; zero is never
	Expected  []string      // owners whom a list from elsewhere may let in though nothing is claimed for them yet

	Fleets map[policy.Origin]Overrides // of followed lists, likewise

	declared map[policy.Origin][]policy.Claim // flag and files, as last taken over
	orphans  orphans                          // of kept origins, for services that are not there
}

// orphans are claims by origin and prefix. They do not change: an edit makes others.
type orphans map[policy.Origin]map[netip.Prefix]policy.Claim

func (o orphans) add(c policy.Claim) {
	if o[c.Origin] == nil {
		o[c.Origin] = map[netip.Prefix]policy.Claim{}
	}
	o[c.Origin][c.Prefix] = c
}

// New makes the state of all claims; kept, those of kept origins, belongs to it from then on,
// and so does declared. A kept claim for a service that the flags or the config file do not
// make is an orphan, which is not enforced: nobody can take it away while no daemon runs, so
// it must not keep one from running, and a list from elsewhere may name services of other
// hosts. Errors are those of policy.CheckServices and policy.Merge.
func New(services []policy.Service, declared map[policy.Origin][]policy.Claim, kept []policy.Claim, now time.Time) (State, error) {
	d := State{declared: declared, orphans: orphans{}}
	claims := slices.DeleteFunc(kept, func(c policy.Claim) bool {
		if !IsOrphan(c, services) {
			return false
		}
		d.orphans.add(c)
		return true
	})
	for _, list := range declared {
		claims = append(claims, list...)
	}
	if err := policy.CheckServices(claims, services); err != nil {
		return State{}, err
	}
	entries, err := policy.Merge(claims, now)
	if err != nil {
		return State{}, err
	}
	d.Policy = policy.State{Services: services, Entries: policy.NewEntries(entries)}
	_, _, d.NextEnd = d.Policy.Expire(now)
	d.Counts = d.counted()
	return d, nil
}

// Waiting is the state of claims of kept origins before any service is known: none is enforced,
// and all are merged by the edit that brings the services.
func Waiting(kept []policy.Claim) State {
	d := State{orphans: orphans{}}
	for _, claim := range kept {
		d.orphans.add(claim)
	}
	d.Counts = d.counted()
	return d
}

// IsOrphan reports whether a kept claim names a service that is not there.
func IsOrphan(c policy.Claim, services []policy.Service) bool {
	return slices.ContainsFunc(c.Services, func(name string) bool {
		return !slices.ContainsFunc(services, func(s policy.Service) bool { return s.Name == name })
	})
}

// Declared are the claims of flags and files, as last taken over. They must not be changed.
func (d State) Declared() map[policy.Origin][]policy.Claim { return d.declared }

// Orphans are the claims of the CLI for services that are not there. They must not be
// changed.
func (d State) Orphans() map[netip.Prefix]policy.Claim { return d.orphans[policy.OriginCLI] }

// Made yields every claim of the CLI, the enforced ones sorted by ComparePrefix.
func (d State) Made() iter.Seq[policy.Claim] { return d.Of(policy.OriginCLI) }

// Of yields every claim of a kept origin, first those for services that are there, sorted by
// ComparePrefix.
func (d State) Of(origin policy.Origin) iter.Seq[policy.Claim] {
	return func(yield func(policy.Claim) bool) {
		for entry := range d.Policy.Entries.All() {
			if claim, made := entry.By(origin); made && !yield(claim) {
				return
			}
		}
		for _, claim := range d.orphans[origin] {
			if !yield(claim) {
				return
			}
		}
	}
}

// kept yields the claims of all kept origins.
func (d State) kept(yield func(policy.Claim) bool) {
	for entry := range d.Policy.Entries.All() {
		for _, claim := range entry.Claims() {
			if claim.Origin.Kept() && !yield(claim) {
				return
			}
		}
	}
	for _, claims := range d.orphans {
		for _, claim := range claims {
			if !yield(claim) {
				return
			}
		}
	}
}

// EndedMade yields the claims of the CLI that have ended at now, in the order of Made.
func (d State) EndedMade(now time.Time) iter.Seq[policy.Claim] {
	return func(yield func(policy.Claim) bool) {
		for claim := range d.Made() {
			if policy.HasEnded(claim.Until, now) && !yield(claim) {
				return
			}
		}
	}
}

// Claimed is what the CLI claims of prefix.
func (d State) Claimed(prefix netip.Prefix) (claim policy.Claim, made bool) {
	return d.ClaimedBy(policy.OriginCLI, prefix)
}

// ClaimedBy is what a kept origin claims of prefix.
func (d State) ClaimedBy(origin policy.Origin, prefix netip.Prefix) (claim policy.Claim, found bool) {
	if claim, found = d.orphans[origin][prefix]; found {
		return claim, true
	}
	if entry, found := d.Policy.Entries.Find(prefix); found {
		return entry.By(origin)
	}
	return policy.Claim{}, false
}

// Claims is every claim there is, those of kept origins first: they are many and sorted.
func (d State) Claims() []*policy.Claim {
	kept := make([]policy.Claim, 0, d.Policy.Entries.Len())
	kept = slices.AppendSeq(kept, d.kept)
	all := make([]*policy.Claim, 0, len(kept))
	for i := range kept {
		all = append(all, &kept[i])
	}
	for _, claims := range d.declared {
		for i := range claims {
			all = append(all, &claims[i])
		}
	}
	return all
}

// counted counts all of d.
func (d State) counted() counts.Counts { return counts.Of(d.Policy.Entries, len(d.Orphans())) }

// countedAfter counts d, which edit has made of old; plan is the difference.
func (d State) countedAfter(edit policy.Edit, plan policy.Plan, old State) counts.Counts {
	switch {
	case edit.Empty() && plan.Empty():
		return old.Counts
	case d.many(edit):
		return d.counted()
	}
	return old.Counts.After(edit, plan, old.Policy.Entries, d.Policy.Entries, len(d.Orphans())-len(old.Orphans()))
}

// Origins counts what each origin claims.
func (d State) Origins() map[policy.Origin]int {
	claimed := map[policy.Origin]int{}
	for origin, claims := range d.declared {
		claimed[origin] = len(claims)
	}
	if d.Counts.Made > 0 {
		claimed[policy.OriginCLI] = d.Counts.Made
	}
	for origin, n := range d.Counts.Followed {
		claimed[origin] += n
	}
	for origin, claims := range d.orphans {
		if origin != policy.OriginCLI {
			claimed[origin] += len(claims)
		}
	}
	return claimed
}

// NotEnforced counts the claims of a followed origin that are not: a stronger origin says that
// the prefix is another owner's, or the service is not there.
func (d State) NotEnforced(origin policy.Origin) int {
	return d.Counts.Aside[origin] + len(d.orphans[origin])
}
