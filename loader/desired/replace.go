// This file says what replace makes of a state, and what it refuses.

package desired

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Replace is the edit that leaves the CLI with the claims of a list, which r names, and
// nothing else. They are sorted by policy.ComparePrefix, each prefix once, and belong to the edit
// from then on. It refuses a service that is not there, unless the claim of it is an orphan
// that stays so, and a list that is empty.
func (d State) Replace(r api.ReplaceRequest, claims []policy.Claim) (edit policy.Edit, err error) {
	known := claims
	if len(d.Orphans()) > 0 {
		known = slices.DeleteFunc(slices.Clone(claims), func(claim policy.Claim) bool {
			orphan, found := d.Orphans()[claim.Prefix]
			return found && policy.SameWords(orphan, claim)
		})
	}
	if err := policy.CheckServices(known, d.Policy.Services); err != nil {
		return edit, err
	}
	if err := d.emptied(r, claims); err != nil {
		return edit, err
	}
	edit.Put = claims
	if d.Counts.Made > 0 {
		edit = d.replaced(claims)
	}
	if err := d.ownedElsewhere(edit.Put); err != nil {
		return edit, err
	}
	for i := range edit.Put {
		edit.Put[i].Where = "" // nobody can look the line up tomorrow
	}
	return edit, nil
}

// replaced is the edit that leaves the CLI with claims.
func (d State) replaced(claims []policy.Claim) (edit policy.Edit) {
	compare := func(c policy.Claim, prefix netip.Prefix) int { return policy.ComparePrefix(c.Prefix, prefix) }
	gone := func(old policy.Claim) {
		edit.Remove = append(edit.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: old.Prefix})
	}
	for prefix, orphan := range d.Orphans() {
		if _, named := slices.BinarySearchFunc(claims, prefix, compare); !named {
			gone(orphan)
		}
	}
	put := func(claim policy.Claim) {
		if orphan, found := d.Orphans()[claim.Prefix]; !found || !policy.SameWords(orphan, claim) {
			edit.Put = append(edit.Put, claim)
		}
	}
	for entry := range d.Policy.Entries.All() {
		old, made := entry.By(policy.OriginCLI)
		if !made {
			continue
		}
		for len(claims) > 0 && compare(claims[0], old.Prefix) < 0 {
			put(claims[0])
			claims = claims[1:]
		}
		switch {
		case len(claims) == 0 || claims[0].Prefix != old.Prefix:
			gone(old)
			continue
		case !policy.SameWords(old, claims[0]):
			put(claims[0])
		}
		claims = claims[1:]
	}
	for _, claim := range claims {
		put(claim)
	}
	return edit
}

// emptied refuses a list without a prefix: what should have written it has failed far
// more often than nobody was meant.
func (d State) emptied(r api.ReplaceRequest, claims []policy.Claim) error {
	enforced := slices.ContainsFunc(d.Policy.Services, func(s policy.Service) bool { return s.Mode == policy.Enforce })
	if len(claims) > 0 || r.AllowEmpty || d.Counts.Made == 0 || !enforced {
		return nil
	}
	return &policy.Refused{
		What: fmt.Sprintf("%s: no prefix in it, and %s would be removed", r.Name, policy.Count(d.Counts.Made, "prefix", "prefixes")),
		Hint: "--allow-empty",
	}
}
