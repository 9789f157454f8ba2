// This file says what an entry was before a change, for whoever asks what the change did.

package query

import (
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func former(e policy.Entry) api.Former {
	return api.Former{
		Prefix: e.Prefix, Owner: e.Owner(), Services: append([]string{}, e.Services()...),
		Until: some(e.Until()), Note: e.Note(), Origins: e.Origins(),
	}
}

// Formers reports entries; nil for none.
func Formers(entries []policy.Entry) []api.Former {
	var out []api.Former
	for _, e := range entries {
		out = append(out, former(e))
	}
	return out
}

// FormersOf reports, of the entries that now stand, those that stood before plan. Both lists
// of plan and entries are sorted by policy.ComparePrefix.
func FormersOf(entries []policy.Entry, plan policy.Plan) []api.Former {
	byPrefix := func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) }
	var out []api.Former
	for _, e := range entries {
		if _, added := slices.BinarySearchFunc(plan.Added, e, byPrefix); added {
			continue
		}
		was := e
		if i, changed := slices.BinarySearchFunc(plan.Was, e, byPrefix); changed {
			was = plan.Was[i]
		}
		out = append(out, former(was))
	}
	return out
}
