package api

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file is what the gate says of owners, and of who is suspended or limited.

// Owners is the answer to "who uses it, and how?".
type Owners struct {
	Owners    []Owner      `json:"owners"`    // sorted by name
	Suspended []Suspension `json:"suspended"` // prefixes, then owners
}

// Owner is one organisation: who has an entry, a limit or a suspension. Its openings
// are TCP's.
type Owner struct {
	Owner    string            `json:"owner"`
	Prefixes int               `json:"prefixes"`
	Passed   uint64            `json:"passed"`
	Dropped  map[string]uint64 `json:"dropped"` // by reason, zero ones too
	Audited  uint64            `json:"audited"` // would have been dropped
	LastSeen *time.Time        `json:"last_seen"`

	NearMisses uint64 `json:"near_misses"` // dropped openings beside the owner's prefixes

	Limit     *Limit      `json:"limit"`     // nil is none
	Suspended *Suspension `json:"suspended"` // nil when the owner is not
}

// Refused is how many of the openings were dropped.
func (o Owner) Refused() (total uint64) {
	for _, n := range o.Dropped {
		total += n
	}
	return total
}

// Limit is how many TCP openings an owner has.
type Limit struct {
	PerSecond float64 `json:"per_second"`
	Burst     uint32  `json:"burst"`

	Origin policy.Origin `json:"origin,omitempty"` // the list of a fleet that says so; "" is a command here
}

// Suspension is one prefix or owner that is stopped, whoever lists it.
type Suspension struct {
	Subject string    `json:"subject"` // a prefix or an owner
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	By      uint32    `json:"by"` // uid

	Origin policy.Origin `json:"origin,omitempty"` // the list of a fleet that says so; "" is a command here

	// Of an owner: how many prefixes stay stopped whoever lists them, because they are his
	// since; and whether what others have in them is stopped, too.
	Held   int  `json:"held,omitempty"`
	Nested bool `json:"nested,omitempty"`
}

// Whose is an entry and its owner.
type Whose struct {
	Prefix netip.Prefix `json:"prefix"`
	Owner  string       `json:"owner"`
}

// SuspendResult says what a suspension or its end came to.
type SuspendResult struct {
	Generation uint64      `json:"generation"`
	Subject    string      `json:"subject"`
	Prefixes   int         `json:"prefixes"`  // entries that it is about
	Suspended  *Suspension `json:"suspended"` // nil when it is not, by its own name
	Still      []string    `json:"still"`     // what stops it all the same
	Cut        *int        `json:"cut,omitempty"`
	Open       []Whose     `json:"open,omitempty"`     // of suspend: entries of others in the owner's network that let in still
	Already    bool        `json:"already,omitempty"`  // of suspend: it was suspended, for the same reason
	Warnings   []string    `json:"warnings,omitempty"` // of suspend: the services in audit, which let in whom it stops

	Foreseen // of suspend
}

// LimitResult says what became of a limit.
type LimitResult struct {
	Generation uint64 `json:"generation"`
	Owner      string `json:"owner"`
	Limit      *Limit `json:"limit"` // nil is none
}

// CutResult says how many connections were ended.
type CutResult struct {
	Subject string `json:"subject"`
	Cut     int    `json:"cut"`
}
