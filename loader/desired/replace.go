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
// nothing else. It refuses a service that is not there, unless the claim of it is an orphan
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
	if d.Counts.Made > 0 {
		named := make(map[netip.Prefix]bool, len(claims))
		for i := range claims {
			named[claims[i].Prefix] = true
		}
		for old := range d.Made() {
			if !named[old.Prefix] {
				edit.Remove = append(edit.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: old.Prefix})
			}
		}
	}
	for i := range claims {
		if old, found := d.Claimed(claims[i].Prefix); !found || !policy.SameWords(old, claims[i]) {
			edit.Put = append(edit.Put, claims[i])
		}
	}
	if err := d.ownedElsewhere(edit.Put); err != nil {
		return edit, err
	}
	for i := range edit.Put {
		edit.Put[i].Where = "" // nobody can look the line up tomorrow
	}
	return edit, nil
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
