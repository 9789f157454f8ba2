package api

import (
	"net/netip"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file is what a change did or would do, whom it cuts off and what it opens.

// ServiceChange is what becomes of one service.
type ServiceChange struct {
	Name string `json:"name"`
	policy.ServiceChange
}

// Former is an entry as it was before a change.
type Former struct {
	Prefix   netip.Prefix    `json:"prefix"`
	Owner    string          `json:"owner"`
	Services []string        `json:"services"` // [] is every service
	Until    *time.Time      `json:"until"`
	Note     string          `json:"note"`
	Origins  []policy.Origin `json:"origins"`
}

// Plan is what a reload or a replace would do or did.
type Plan struct {
	Generation uint64  `json:"generation"` // after it; unchanged by a dry run
	Total      int     `json:"total"`
	Added      []Entry `json:"added"`
	Removed    []Entry `json:"removed"`
	Changed    []Entry `json:"changed"` // as they are afterwards

	Was []Former `json:"was,omitempty"` // those of Changed as they were

	Unnamed *Unnamed `json:"unnamed,omitempty"` // nil where the lists name all, as they do unless the caller wants fewer

	Services []ServiceChange  `json:"services,omitempty"` // what becomes of services
	Opens    []policy.Opening `json:"opens,omitempty"`    // the ports that open by it, at least wider

	Entries []Entry `json:"entries,omitzero"` // of a replace: those that its list names, as they are afterwards; none with Unnamed
	Kept    []Entry `json:"kept,omitzero"`    // of a replace: those that are declared, and not in its list; likewise

	Warnings  []string `json:"warnings,omitempty"`  // what was read and not taken over, and what is not known
	Overrides []string `json:"overrides,omitempty"` // of a rollback or an import: the suspensions and limits that come and go, in words
	Loosens   []string `json:"loosens,omitempty"`   // of an import: those by which somebody is let in who was not
	Foreseen
	Confirm *Waiting `json:"confirm,omitempty"` // nil when nothing is to be confirmed
}

// Unnamed counts the entries that the lists of a plan leave out.
type Unnamed struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
	Changed int `json:"changed"`
}

// Foreseen is what was found out about a change before it was made.
type Foreseen struct {
	Cuts    []Cut    `json:"cuts,omitzero"`     // whom it cuts off; nil is a change of which nobody asked
	Refused *Refusal `json:"refused,omitempty"` // of a dry run: the change itself would be refused
}

// Refusal says why a change would be refused.
type Refusal struct {
	What string `json:"what"`
	Hint string `json:"hint"`
}

// Cut is an entry in use that a change closes, if only in part. It is in use when one
// of its sources is connected or was seen in the last days.
type Cut struct {
	Prefix      *netip.Prefix `json:"prefix"` // nil: peers that no entry lets in, but a port that is not guarded yet
	Owner       string        `json:"owner"`
	Services    []string      `json:"services"` // that are closed
	LastSeen    *time.Time    `json:"last_seen"`
	Connections int           `json:"connections"` // established ones whose peers could not open them again
	Peers       []CutPeer     `json:"peers"`       // of them, 20 at most
}

// CutPeer is the far end of connections to one port.
type CutPeer struct {
	Address     netip.Addr  `json:"address"`
	Port        policy.Port `json:"port"`
	Connections int         `json:"connections"`
	Session     bool        `json:"session"` // the caller's own way in
}

// Who is the entry and its owner, or the peer that no entry lets in.
func (c Cut) Who() string {
	switch {
	case c.Prefix != nil:
		return strings.TrimSpace(c.Prefix.String() + "  " + c.Owner)
	case len(c.Peers) == 0:
		return "not listed"
	}
	return c.Peers[0].Address.String() + " (not listed)"
}

// To is how many connections a peer that no entry lets in has, and to which ports.
func (c Cut) To() string {
	var ports []string
	for _, peer := range c.Peers {
		text := peer.Port.String()
		if peer.Session {
			text += " (your own session)"
		}
		ports = append(ports, text)
	}
	return policy.Count(c.Connections, "connection", "connections") + " to " + strings.Join(ports, ", ")
}
