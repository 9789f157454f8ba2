package api

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file is what a command asks of the gate.

// Caller is who asked for a change, from SO_PEERCRED, and what he says of it himself.
type Caller struct {
	UID      uint32
	PID      int32
	LoginUID *uint32 // who had logged in, before sudo or su; nil where that is not known
	Command  string  // as it was typed, without the program; "" is the name of the change
	Reason   string
	Most     int // how many entries of each list he wants to be told; 0 is all
}

// ListRequest says which entries to list: those that meet every wish that is not zero.
type ListRequest struct {
	Owner    string        // NoOwner is that of entries without one
	Prefix   netip.Prefix  // that lie in it or cover it
	Unused   time.Duration // not seen for so long, counted from when they were first enforced
	Expiring time.Duration // that end within so long
	Expired  bool          // that have ended

	Format  string // how they are written, one of ListFormats; "" is json
	Columns int    // of the terminal that a table is for; 0 is none
}

// ListFormats are how a listing can be written.
var ListFormats = []string{"json", "table", "text"}

// NothingListed is what a table without a row is written as.
const NothingListed = "nobody listed"

// AddRequest asks for CLI claims. All prefixes are taken or none.
type AddRequest struct {
	Prefixes []string `json:"prefixes"` // PREFIX or ADDR, or whole lines of the list grammar
	Owner    string   `json:"owner"`
	Services []string `json:"services,omitempty"` // none is every service
	For      string   `json:"for,omitempty"`      // a duration; this or Until, none is for ever
	Until    string   `json:"until,omitempty"`    // a date or RFC 3339; "never" is for ever
	Note     string   `json:"note"`
	NoNote   bool     `json:"no_note,omitempty"` // takes away the note that is there
	AllowAny bool     `json:"allow_any"`
	DryRun   bool     `json:"dry_run,omitempty"`

	// What neither a line nor the request says stays as the CLI's own claim has it, if
	// there is one; with Whole it is the default: no owner, every service, for ever.
	Whole bool `json:"whole,omitempty"`

	Sessions []policy.Peer `json:"sessions,omitempty"` // of the caller, see Sessions
}

// RemoveRequest takes CLI claims away: those of the prefixes, or all of one owner.
type RemoveRequest struct {
	Prefixes   []string `json:"prefixes"`
	Owner      string   `json:"owner"`
	Expired    bool     `json:"expired,omitempty"` // all that have ended, of Owner if there is one
	AllowEmpty bool     `json:"allow_empty"`
	Cut        bool     `json:"cut"` // end open connections, too
	DryRun     bool     `json:"dry_run,omitempty"`
	Seen       string   `json:"seen,omitempty"` // a duration: who was seen since then is in use; "" is DefaultSeen

	Sessions []policy.Peer `json:"sessions,omitempty"` // of the caller, see Sessions
}

// ReplaceRequest makes the CLI claims those of a list.
type ReplaceRequest struct {
	Name        string `json:"name"` // of the list, for messages
	Text        string `json:"text"` // in the grammar of list files
	DryRun      bool   `json:"dry_run"`
	ForceShrink bool   `json:"force_shrink"`
	AllowEmpty  bool   `json:"allow_empty"`
	AllowAny    bool   `json:"allow_any"`
	Seen        string `json:"seen,omitempty"` // as of RemoveRequest

	Confirm  string        `json:"confirm,omitempty"`  // as of ReloadRequest
	Sessions []policy.Peer `json:"sessions,omitempty"` // of the caller, see Sessions
}

// ImportRequest makes what commands made equal an export: claims, suspensions and limits.
type ImportRequest struct {
	ReplaceRequest
	AllowOpen bool `json:"allow_open,omitempty"` // suspensions may end, and limits go up
}

// ReloadRequest reads all declared origins again.
type ReloadRequest struct {
	policy.Force
	DryRun bool `json:"dry_run"`

	Seen     string        `json:"seen,omitempty"`    // as of RemoveRequest
	Confirm  string        `json:"confirm,omitempty"` // a duration: rolled back unless confirmed within
	Sessions []policy.Peer `json:"sessions,omitempty"`
	Logins   []policy.Peer `json:"logins,omitempty"` // of anybody, see Logins
}

// DetachRequest opens the gate on the named interfaces, on all when none is named.
type DetachRequest struct {
	Interfaces []string `json:"interfaces"`
}

// SuspendRequest stops a prefix with all that lies in it, or an owner; or lets it in
// again.
type SuspendRequest struct {
	policy.Subject
	Cut    bool   `json:"cut"` // end open connections, too
	DryRun bool   `json:"dry_run,omitempty"`
	Seen   string `json:"seen,omitempty"` // as of RemoveRequest

	Nested   bool `json:"nested,omitempty"`    // of an owner: stop what others have in his network, too
	AllowAny bool `json:"allow_any,omitempty"` // stop a prefix wider than /8, or /19 for IPv6

	Sessions []policy.Peer `json:"sessions,omitempty"` // of the caller, see Sessions
}

// LimitRequest says how many openings an owner has; without PerSecond any number.
type LimitRequest struct {
	Owner string `json:"owner"`
	Limit
}

// CutRequest ends the open connections of a prefix or an owner.
type CutRequest struct {
	policy.Subject
	AllowAny bool `json:"allow_any,omitempty"` // of a prefix wider than /8, or /19 for IPv6

	Sessions []policy.Peer `json:"sessions,omitempty"` // of the caller, see Sessions
}

// RollbackRequest takes the last change back.
type RollbackRequest struct {
	policy.Force
	DryRun bool `json:"dry_run"`

	Seen     string        `json:"seen,omitempty"` // as of RemoveRequest
	Sessions []policy.Peer `json:"sessions,omitempty"`
	Logins   []policy.Peer `json:"logins,omitempty"` // of anybody, see Logins
}

// ConfirmRequest keeps the change that waits for it.
type ConfirmRequest struct{}

// ModeRequest asks for an audit that ends by itself, or for its end.
type ModeRequest struct {
	Mode     policy.Mode `json:"mode"`
	For      string      `json:"for,omitempty"`      // a duration; of an audit
	Services []string    `json:"services,omitempty"` // none is every service
}
