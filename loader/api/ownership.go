package api

import "net/netip"

// This file is whose an address is, for a proxy that asks for each request.

// The reasons that an Ownership has beside those of policy.State.Lookup.
const (
	ReasonWrongOwner = "wrong_owner" // the address is listed, and for somebody else than the one expected
	ReasonLocal      = "local"       // an address of this host
	ReasonNoAddress  = "no_address"  // the question has no address that can be read
	ReasonNoService  = "no_service"  // there is no service of the name that was asked for
)

// Ownership is the answer to "whose address is it, and may it use the service?".
type Ownership struct {
	Owner  string       // for whom the address counts; "" is nobody
	Prefix netip.Prefix // of the entry that decided; the zero Prefix is none
	Reason string       // "listed", or why it may not
	Audit  bool         // the service refuses nobody now
}

// Enrolment counts what became of an owner's requests to enrol, since the daemon started.
type Enrolment struct {
	Owner    string `json:"owner"` // "-" for all who may not
	Result   string `json:"result"`
	Requests uint64 `json:"requests"`
}

// OwnerCheck counts the answers about one service with one reason, since the daemon started.
type OwnerCheck struct {
	Service string `json:"service"` // "-" where there is none of the name that was asked for
	Reason  string `json:"reason"`
	Answers uint64 `json:"answers"`
}
