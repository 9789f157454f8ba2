// This file remembers where each owner has enrolled: to walk over a million entries for each request would
// take long.

package enrol

import (
	"iter"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Book is where owners have enrolled, with some prefixes that are gone. Its zero value knows nothing yet.
type Book struct {
	prefixes map[string]map[netip.Prefix]bool
}

// Of returns the claims of owner. All of what is enrolled are asked for once; at returns the claim of a prefix.
func (b *Book) Of(owner string, all iter.Seq[policy.Claim], at func(netip.Prefix) (policy.Claim, bool)) (claims []policy.Claim) {
	if b.prefixes == nil {
		b.prefixes = map[string]map[netip.Prefix]bool{}
		for c := range all {
			b.Add(c)
		}
	}
	for prefix := range b.prefixes[owner] {
		if c, found := at(prefix); found && c.Owner == owner {
			claims = append(claims, c)
		} else {
			delete(b.prefixes[owner], prefix)
		}
	}
	return claims
}

// Add notes a claim that was made. Before the first Of it does nothing.
func (b *Book) Add(c policy.Claim) {
	if b.prefixes == nil {
		return
	}
	if b.prefixes[c.Owner] == nil {
		b.prefixes[c.Owner] = map[netip.Prefix]bool{}
	}
	b.prefixes[c.Owner][c.Prefix] = true
}
