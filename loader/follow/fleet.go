// This file has what only fleet lists need: overrides over all origins, and guard rails that were
// asked at the change.

package follow

import (
	"errors"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Suspensions are those of o for the store.
func Suspensions(o source.Overrides) (all []store.Suspension) {
	for _, s := range o.Suspended {
		all = append(all, store.Suspension{Subject: s.Subject, Reason: s.Reason, Time: s.Since.UTC(), Nested: s.Nested})
	}
	return all
}

// Limits are those of o for the store.
func Limits(o source.Overrides) (all []store.Limit) {
	for _, l := range o.Limits {
		all = append(all, store.Limit(l))
	}
	return all
}

// Force is what a reading of one may do. The guard rails of a fleet are asked where its list is
// changed: a host that was away for ten changes must not refuse what people accepted step by step.
// Only an empty list is refused here, too.
func Force(r source.Reading, one Origin) policy.Force {
	if _, fleet := r.Origin.Etcd(); fleet {
		return policy.Force{AllowAny: true, ForceShrink: true, AllowEmpty: r.Force.AllowEmpty || one.Force.AllowEmpty}
	}
	return one.Force
}

// Code is the problem code of why a reading was not taken over.
func Code(err error) string {
	if t, ok := errors.AsType[*source.Trouble](err); ok {
		return t.Code
	}
	return "origin_failing"
}
