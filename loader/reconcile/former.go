// This file says what an entry was before a change, for whoever asks what the change did.

package reconcile

import (
	"slices"

	"github.com/xdpallow/xdpallow/loader/policy"
)

func former(e policy.Entry) Former {
	return Former{
		Prefix: e.Prefix, Owner: e.Owner, Services: append([]string{}, e.Services...),
		Until: some(e.Until), Note: e.Note, Origins: e.Origins(),
	}
}

// formers reports entries; nil for none.
func formers(entries []policy.Entry) []Former {
	var out []Former
	for _, e := range entries {
		out = append(out, former(e))
	}
	return out
}

// were reports, of the entries that now stand, those that stood before plan. Both lists
// of plan and entries are sorted by policy.ComparePrefix.
func were(entries []policy.Entry, plan policy.Plan) []Former {
	byPrefix := func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) }
	var out []Former
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
