package query

import (
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file reports owners.

// Owners reports every owner. The error is that of reading what was counted for them.
func (v *View) Owners() (api.Owners, error) {
	prefixes := v.Counts.Owners()
	all := api.Owners{Owners: []api.Owner{}, Suspended: SuspensionsOf(v.State)}
	var names []string
	for name := range prefixes {
		names = append(names, name)
	}
	names = slices.AppendSeq(names, v.NamedOwners)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		use, err := v.Usage.Owner(name)
		if err != nil {
			return all, err
		}
		o := api.Owner{
			Owner: name, Prefixes: prefixes[name], Passed: use.Passed, Dropped: use.Dropped, Audited: use.Audited,
			Limit: LimitOf(v.State, name), Suspended: SuspensionOf(v.State, policy.Subject{Owner: name}),
		}
		if !use.LastSeen.IsZero() {
			o.LastSeen = &use.LastSeen
		}
		all.Owners = append(all.Owners, o)
	}
	return all, nil
}
