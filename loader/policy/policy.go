// Package policy is the desired state: who may open connections to which service, which origin
// says so, and what a change would do. It is pure: it parses, merges, compares and refuses, and
// touches neither the kernel nor a file.
package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Claim is what one origin says about one prefix. An origin has at most one claim of a prefix.
type Claim struct {
	Prefix   netip.Prefix // canonical: host bits are zero, never IPv4-mapped
	Owner    string       // "" is none
	Services []string     // sorted; nil is every service
	Until    time.Time    // UTC; zero is for ever
	Note     string
	Origin   Origin
	Where    string // "allow.d/acme.list:3" for a line of a file or of the config, else ""
}

// Entry is what all claims of one prefix make together, see Merge.
type Entry struct {
	Prefix    netip.Prefix
	Owner     string
	Services  []string  // sorted; nil is every service
	Until     time.Time // UTC; zero is for ever
	Note      string
	Suspended bool    // set only by State.Enforced; the list itself has State.Suspended
	Claims    []Claim // sorted by origin; never empty
}

// DeclaredAt names the first place that declares e, "" when only the CLI does.
func (e Entry) DeclaredAt() string {
	for _, claim := range e.Claims {
		switch {
		case claim.Where != "":
			return claim.Where
		case claim.Origin == OriginFlag:
			return "--allow " + claim.Prefix.String()
		}
	}
	return ""
}

// Origins returns the origins of e's claims, sorted, each once.
func (e Entry) Origins() []Origin {
	origins := make([]Origin, 0, len(e.Claims))
	for _, c := range e.Claims {
		origins = append(origins, c.Origin)
	}
	return slices.Compact(origins)
}

// ComparePrefix orders prefixes by address, IPv4 first, shorter first.
func ComparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// State is everything that the gate enforces at one generation. It does not change; an edit
// makes another one.
type State struct {
	Services  []Service // sorted by name
	Entries   Entries
	Suspended Suspended
}
