// This file keeps what is said over all origins, and by owner: who is suspended, and how
// many connections an owner may open.

package desired

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Overrides are what is said of prefixes and owners, whoever lists them. They do not
// change: an edit makes others.
type Overrides struct {
	Suspensions map[policy.Subject]store.Suspension
	Limits      map[string]store.Limit
}

// OverridesEdit is what an edit does to overrides, first what it takes back.
type OverridesEdit struct {
	Resume  []policy.Subject
	Suspend []store.Suspension
	Unlimit []string
	Limit   []store.Limit
}

// Empty reports whether o changes nothing.
func (o OverridesEdit) Empty() bool {
	return len(o.Resume)+len(o.Suspend)+len(o.Unlimit)+len(o.Limit) == 0
}

// Toward returns the edit that leads from o to is, but for whom is suspends: what of a suspension
// that goes on is kept, the caller knows.
func (o Overrides) Toward(is Overrides) (by OverridesEdit) {
	for _, s := range o.SortedSuspensions() {
		if _, stays := is.Suspensions[s.Subject]; !stays {
			by.Resume = append(by.Resume, s.Subject)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(o.Limits)) {
		if _, stays := is.Limits[owner]; !stays {
			by.Unlimit = append(by.Unlimit, owner)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(is.Limits)) {
		if l := is.Limits[owner]; l != o.Limits[owner] {
			by.Limit = append(by.Limit, l)
		}
	}
	return by
}

// Lines are what o does to was, in words.
func (o OverridesEdit) Lines(was Overrides) (lines []string) {
	for _, subject := range o.Resume {
		lines = append(lines, "resume "+subject.String())
	}
	for _, s := range o.Suspend {
		if before, stopped := was.Suspensions[s.Subject]; stopped && before.Reason == s.Reason && before.Nested == s.Nested {
			continue // only the prefixes that it holds have changed, and nobody asked for that
		}
		lines = append(lines, "suspend "+s.Subject.String())
	}
	for _, owner := range o.Unlimit {
		lines = append(lines, "limit "+owner+" none")
	}
	for _, l := range o.Limit {
		lines = append(lines, fmt.Sprintf("limit %s %s --burst %d", l.Owner, policy.FormatRate(l.PerSecond), l.Burst))
	}
	return lines
}

// After is o after an edit.
func (o Overrides) After(by OverridesEdit) Overrides {
	if by.Empty() {
		return o
	}
	o = Overrides{maps.Clone(o.Suspensions), maps.Clone(o.Limits)}
	if o.Suspensions == nil {
		o.Suspensions = map[policy.Subject]store.Suspension{}
	}
	if o.Limits == nil {
		o.Limits = map[string]store.Limit{}
	}
	for _, subject := range by.Resume {
		delete(o.Suspensions, subject)
	}
	for _, s := range by.Suspend {
		o.Suspensions[s.Subject] = s
	}
	for _, owner := range by.Unlimit {
		delete(o.Limits, owner)
	}
	for _, l := range by.Limit {
		o.Limits[l.Owner] = l
	}
	return o
}

// Empty reports whether o says nothing.
func (o Overrides) Empty() bool { return len(o.Suspensions)+len(o.Limits) == 0 }

func (o Overrides) same(b Overrides) bool {
	return maps.EqualFunc(o.Suspensions, b.Suspensions, SameSuspension) && maps.Equal(o.Limits, b.Limits)
}

// SameSuspension reports whether a and b say the same of the same subject.
func SameSuspension(a, b store.Suspension) bool {
	return a.Reason == b.Reason && a.Time.Equal(b.Time) && a.UID == b.UID && a.Nested == b.Nested && holdsSame(a, b)
}

// NamedOwners yields every owner that o says something of, some twice.
func (o Overrides) NamedOwners(yield func(string) bool) {
	for subject := range o.Suspensions {
		if subject.Owner != "" && !yield(subject.Owner) {
			return
		}
	}
	for owner := range o.Limits {
		if !yield(owner) {
			return
		}
	}
}

// Owners yields the owners that o names, some twice.
func (o OverridesEdit) Owners(yield func(string) bool) {
	var names []string
	for _, subject := range o.Resume {
		names = append(names, subject.Owner)
	}
	for _, s := range o.Suspend {
		names = append(names, s.Owner)
	}
	names = append(names, o.Unlimit...)
	for _, l := range o.Limit {
		names = append(names, l.Owner)
	}
	for _, name := range names {
		if name != "" && !yield(name) {
			return
		}
	}
}

// SortedSuspensions is o.Suspensions: prefixes by address, then owners by name.
func (o Overrides) SortedSuspensions() []store.Suspension {
	return slices.SortedFunc(maps.Values(o.Suspensions), func(a, b store.Suspension) int {
		if a.Owner != "" || b.Owner != "" {
			return strings.Compare(a.Owner, b.Owner)
		}
		return policy.ComparePrefix(a.Prefix, b.Prefix)
	})
}
