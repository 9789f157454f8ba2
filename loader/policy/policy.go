// Package policy is the desired state: who may open connections to which service, which origin
// says so, and what a change would do. It is pure: it parses, merges, compares and refuses, and
// touches neither the kernel nor a file.
package policy

import (
	"net/netip"
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

// State is everything that the gate enforces at one generation. It does not change; an edit
// makes another one.
type State struct {
	Services  []Service // sorted by name
	Entries   Entries
	Suspended Suspended
}
