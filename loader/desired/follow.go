// This file says what lists that are kept elsewhere make of a state, and what commands may not
// do to them.

package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

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

// Forget is the edit after which origins claim nothing.
func (d State) Forget(origins []policy.Origin) (edit policy.Edit) {
	for _, origin := range origins {
		for claim := range d.Of(origin) {
			edit.Remove = append(edit.Remove, claim.Key())
		}
	}
	return edit
}

// Join is the edit that does all of edits, no two of which are of one origin.
func Join(edits []policy.Edit) (all policy.Edit) {
	for _, edit := range edits {
		all.Remove, all.Put = append(all.Remove, edit.Remove...), append(all.Put, edit.Put...)
	}
	return all
}

// ownedElsewhere refuses claims of the CLI for a prefix that a followed origin says is another
// owner's. Such a claim would take the prefix from him, which nobody here may have meant.
func (d State) ownedElsewhere(claims []policy.Claim) error {
	if len(d.Counts.Followed) == 0 { // else to find a million takes a while
		return nil
	}
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
			hint = inList(by.Origin, fmt.Sprintf("add %s --owner %s", c.Prefix, c.Owner))
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

// Loses counts the claims of origin that let somebody in at now, those of them that no longer do in
// next, which edit leads to, and how many do there. One that ends, or is for a service that is not
// there, shuts its customer out as one that is gone.
func (d State) Loses(origin policy.Origin, edit policy.Edit, next policy.State, now time.Time) (had, gone, left int) {
	letsIn := func(state policy.State, prefix netip.Prefix) bool {
		entry, found := state.Entries.Find(prefix)
		return found && entry.LetsIn(origin, now)
	}
	came, seen := 0, map[netip.Prefix]bool{}
	for prefix := range edit.Prefixes() {
		if seen[prefix] {
			continue
		}
		seen[prefix] = true
		switch was, is := letsIn(d.Policy, prefix), letsIn(next, prefix); {
		case was && !is:
			gone++
		case is && !was:
			came++
		}
	}
	if gone == 0 { // nobody asks for more, and a walk over a million takes long
		return 0, 0, came
	}
	for entry := range d.Policy.Entries.All() {
		if entry.LetsIn(origin, now) {
			had++
		}
	}
	return had, gone, had - gone + came
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
