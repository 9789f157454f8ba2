package api

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file is what the gate says of one source.

// CheckResult is the answer to "what happens to this source?".
type CheckResult struct {
	Address    netip.Addr      `json:"address"`
	Port       policy.Port     `json:"port"`
	Verdict    string          `json:"verdict"`
	Reason     string          `json:"reason"`
	Prefix     *netip.Prefix   `json:"prefix"` // the entry that decided, nil when none covers
	Owner      string          `json:"owner"`
	Services   []string        `json:"services"` // of that entry; [] is every service
	Until      *time.Time      `json:"until"`
	Origins    []policy.Origin `json:"origins"`
	Covering   []Covering      `json:"covering"` // every entry that covers the address, longest first
	Nearest    []Near          `json:"nearest"`  // of an address that is not listed, nearest first
	Generation uint64          `json:"generation"`

	Suspension *Suspension `json:"suspension,omitempty"` // what stops the source
	CountsFor  string      `json:"counts_for,omitempty"` // as of Entry
	Limit      *Limit      `json:"limit,omitempty"`      // of the owner for whom an opening counts
}

// Covering is an entry that covers an address, and what it says of it alone.
type Covering struct {
	Prefix   netip.Prefix `json:"prefix"`
	Owner    string       `json:"owner"`
	Services []string     `json:"services"` // [] is every service
	Until    *time.Time   `json:"until"`
	Reason   string       `json:"reason"` // "listed", "expired", "wrong_service" or "suspended"
}

// Near is an entry beside an address: perhaps a customer who moved.
type Near struct {
	Prefix   netip.Prefix `json:"prefix"`
	Owner    string       `json:"owner"`
	Within   netip.Prefix `json:"within"`   // the longest prefix that holds both
	Distance int          `json:"distance"` // the host bits of Within: 8 is the same /24 of IPv4

	Reason string `json:"reason,omitempty"` // why it lets nobody in: "expired" or "suspended"
}
