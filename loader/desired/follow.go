// This file says what lists that are kept elsewhere make of a state, and what commands may not
// do to them.

package desired

import (
	"fmt"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Follow is the edit after which a followed origin claims exactly these claims, of which there
// is one a prefix.
func (d State) Follow(origin policy.Origin, claims []policy.Claim) (edit policy.Edit) {
	claims = slices.SortedFunc(slices.Values(claims), func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	stays := make([]bool, len(claims))
	for old := range d.Of(origin) {
		i, found := slices.BinarySearchFunc(claims, old, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
		if !found {
			edit.Remove = append(edit.Remove, old.Key())
		} else {
			stays[i] = policy.SameWords(old, claims[i])
		}
	}
	for i, c := range claims {
		if !stays[i] {
			edit.Put = append(edit.Put, c)
		}
	}
	return edit
}

// forget is the edit after which origins claim nothing.
func (d State) forget(origins []policy.Origin) (edit policy.Edit) {
	for _, origin := range origins {
		for claim := range d.Of(origin) {
			edit.Remove = append(edit.Remove, claim.Key())
		}
	}
	return edit
}

// ownedElsewhere refuses claims of the CLI for a prefix that a followed origin says is another
// owner's. Such a claim would take the prefix from him, which nobody here may have meant.
func (d State) ownedElsewhere(claims []policy.Claim) error {
	for _, c := range claims {
		entry, found := d.Policy.Entries.Find(c.Prefix)
		if !found || c.Owner == "" {
			continue
		}
		by, held := entry.Holder()
		if !held || !by.Origin.Followed() || by.Owner == c.Owner {
			continue
		}
		what, hint := fmt.Sprintf("%s belongs to %s (%s)", c.Prefix, by.Owner, by.Origin), fmt.Sprintf("xdpallow add %s --owner %s", c.Prefix, by.Owner)
		if _, fleet := by.Origin.Etcd(); fleet {
			hint = api.InList(by.Origin, fmt.Sprintf("add %s --owner %s", c.Prefix, c.Owner))
		} else if c.Where != "" {
			hint = fmt.Sprintf("%s owner=%s", c.Prefix, by.Owner)
		}
		if c.Where != "" {
			what = c.Where + ": " + what
		}
		return &policy.Refused{What: what, Hint: hint}
	}
	return nil
}

// Elsewhere counts, of each followed origin, the claims for services that are not there.
func (d State) Elsewhere() map[policy.Origin]int {
	counts := map[policy.Origin]int{}
	for origin, claims := range d.orphans {
		if origin.Followed() && len(claims) > 0 {
			counts[origin] = len(claims)
		}
	}
	return counts
}

// Fresh counts the claims that edit puts where their origin claims nothing yet.
func (d State) Fresh(edit policy.Edit) (n int) {
	for _, c := range edit.Put {
		if _, found := d.ClaimedBy(c.Origin, c.Prefix); !found {
			n++
		}
	}
	return n
}
