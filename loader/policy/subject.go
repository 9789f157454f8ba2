package policy

import "net/netip"

// Subject is whom a suspension or a cut is about: either a prefix, with all that lies in it,
// or an owner. The other one is zero.
type Subject struct {
	Prefix netip.Prefix `json:"prefix"` // canonical
	Owner  string       `json:"owner"`
}

func (s Subject) String() string {
	if s.Owner != "" {
		return s.Owner
	}
	return s.Prefix.String()
}
