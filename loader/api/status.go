// Package api is what crosses the control socket: requests, answers and problems. It has
// types only, so that a client, the exporter of metrics and the screen of top need no engine.
//
// The answers are printed by -o json as they are here: fields may be added, never changed or
// removed. Times are UTC; a nil time is "never".
package api

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file is the state of the gate, its counters, its entries and its changes.

// Status is the answer to "is this host protected?".
type Status struct {
	Enforcing  bool           `json:"enforcing"` // a result of the canary, not a setting
	Problems   []Problem      `json:"problems"`
	Interfaces []Interface    `json:"interfaces"`
	Uncovered  []string       `json:"uncovered"` // up, addressed, and nobody asked for them
	Routed     []string       `json:"routed"`    // of them, bridges that lead containers or VMs
	Backstop   *Backstop      `json:"backstop"`  // nil when it is off
	Generation uint64         `json:"generation"`
	Entries    int            `json:"entries"` // that have not ended
	Ended      int            `json:"ended"`   // still on the list, and let nobody in any more
	Families   Families       `json:"families"`
	Owners     int            `json:"owners"`
	Expiring   int            `json:"expiring"` // entries that end within Soon
	Services   []Service      `json:"services"`
	Origins    []OriginStatus `json:"origins"`
	Suspended  []Suspension   `json:"suspended"`   // prefixes, then owners
	Limited    int            `json:"limited"`     // owners that have a limit
	LastChange *Change        `json:"last_change"` // as of the change log; nil before the first
	Confirm    *Waiting       `json:"confirm"`     // nil when nothing waits for its confirmation
	Daemon     *Daemon        `json:"daemon"`      // nil when no daemon runs
	Version    string         `json:"version"`
}

// Families counts the entries, those that have ended too.
type Families struct {
	IPv4 int `json:"ipv4"`
	IPv6 int `json:"ipv6"`
}

// Service is a service as it is now.
type Service struct {
	policy.Service
	Until *time.Time `json:"until,omitempty"` // when an audit ends by itself
}

// Waiting is a change that is rolled back unless it is confirmed.
type Waiting struct {
	Command    string    `json:"command"`
	Generation uint64    `json:"generation"`
	Deadline   time.Time `json:"deadline"`
	Left       int       `json:"left"` // seconds
}

// Unwritable is the code of the problem that no change can be kept.
const Unwritable = "state_unwritable"

// Problem is one thing an operator should mend.
type Problem struct {
	Code    string `json:"code"`    // stable, for scripts: "interface_missing", "canary", ...
	Subject string `json:"subject"` // what it is about: an interface, a service, an origin
	Text    string `json:"text"`
	Hint    string `json:"hint"` // a command to paste, or ""
}

func (p Problem) String() string {
	if p.Subject == "" {
		return p.Text
	}
	return p.Subject + ": " + p.Text
}

// Interface is one interface that carries our program.
type Interface struct {
	Name      string `json:"name"`
	Attach    string `json:"attach"`           // "native", "generic", or "" when not attached
	Reason    string `json:"reason,omitempty"` // the kernel's reason why not native
	LinkID    uint32 `json:"link_id"`
	ProgramID uint32 `json:"program_id"`
	Attached  bool   `json:"attached"`

	BackstopRefused uint64 `json:"backstop_refused"` // packets that came in by it and passed our program: by a tunnel, a redirect, or a driver that does not run it
}

// Backstop is the second program, at the socket lookup.
type Backstop struct {
	LinkID    uint32 `json:"link_id"`
	ProgramID uint32 `json:"program_id"`
	Attached  bool   `json:"attached"`
}

// OriginStatus is how the last reading of one origin went.
type OriginStatus struct {
	Name    policy.Origin `json:"name"`
	Entries int           `json:"entries"`
	Error   string        `json:"error,omitempty"` // "" when the last reading was taken over

	// Of lists that are kept elsewhere only.
	State       string     `json:"state,omitempty"`        // "current", "failing", or "pending" until the first reading
	Mark        string     `json:"mark,omitempty"`         // of what was taken over last: an ETag, a serial number
	LastSuccess *time.Time `json:"last_success,omitempty"` // when it was last reached and taken over
	Aside       int        `json:"aside,omitempty"`        // of entries, those that are not enforced
}

// Change is the last change of the policy.
type Change struct {
	Time       time.Time `json:"time"`
	Generation uint64    `json:"generation"`
	Command    string    `json:"command"` // as it was typed, without the program
	Reason     string    `json:"reason"`
	UID        uint32    `json:"uid"`
	PID        int32     `json:"pid"`
	LoginUID   *uint32   `json:"login_uid,omitempty"` // who had logged in; nil where that is not known
}

// History is the answer to "who changed what?".
type History struct {
	Changes []store.Record `json:"changes"` // oldest first
}

// Daemon is the running daemon.
type Daemon struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
	Bpffs string    `json:"bpffs,omitempty"` // the directory of its pins; "" of a daemon before it said so
}

// Stats is the answer to "what did it do?".
type Stats struct {
	Counters []Counter  `json:"counters"` // every series, zero rows too, sorted
	Since    *time.Time `json:"since"`    // when counting began
	Owners   []Owner    `json:"owners"`   // of TCP openings, sorted

	EventsLost uint64 `json:"events_lost"` // sampled refusals that nobody could read, of this daemon

	Repairs map[string]uint64 `json:"repairs"` // what somebody else changed and this daemon put right

	OwnerChecks []OwnerCheck `json:"owner_checks,omitempty"` // answers of the owner endpoint, where there is one
	Enrolments  []Enrolment  `json:"enrolments,omitempty"`   // what became of those who asked to enrol, where somebody may
}

// Counter is one series of packets and bytes.
type Counter struct {
	Interface string `json:"interface"`
	Layer     string `json:"layer"`   // "xdp", or "backstop", which sees some packets again
	Verdict   string `json:"verdict"` // "pass", "drop", "audit"
	Reason    string `json:"reason"`
	Family    string `json:"family"` // "ipv4", "ipv6", "other"
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
}

// Listing is the answer of list, add, remove: the entries shown or changed.
type Listing struct {
	Generation uint64  `json:"generation"`
	Total      int     `json:"total"` // prefixes in the whole policy
	Entries    []Entry `json:"entries"`
	Cut        *int    `json:"cut,omitempty"` // connections ended, where that was asked for

	// Of list --unused: left out of Entries, because somebody is connected now.
	Connected []netip.Prefix `json:"connected,omitempty"`

	Changed *bool    `json:"changed,omitempty"` // of add and remove: false when all was so before
	Was     []Former `json:"was,omitempty"`     // of add: those of Entries that were there before, as they were

	Still    []Still  `json:"still_listed,omitempty"` // of remove: what is listed still
	Warnings []string `json:"warnings,omitempty"`     // of add: whose networks the entries lie in, and who is suspended there

	Foreseen // of remove
}

// Still is a prefix that was removed, and an entry that lets its sources in: a wider one, or what
// a list from elsewhere says of the prefix itself.
type Still struct {
	Prefix netip.Prefix  `json:"prefix"`
	By     netip.Prefix  `json:"by"`
	Owner  string        `json:"owner"`            // of By
	Origin policy.Origin `json:"origin,omitempty"` // which lists the prefix itself
}

// Entry is one entry of the effective policy.
type Entry struct {
	Prefix    netip.Prefix    `json:"prefix"`
	Owner     string          `json:"owner"`
	Services  []string        `json:"services"` // [] is every service
	Until     *time.Time      `json:"until"`
	Note      string          `json:"note"`
	Origins   []policy.Origin `json:"origins"`
	LastSeen  *time.Time      `json:"last_seen"`
	Hits      uint64          `json:"hits"`
	Suspended bool            `json:"suspended"`
	Ended     bool            `json:"ended,omitempty"` // until is over

	SuspendedBy string        `json:"suspended_by,omitempty"` // the prefix or owner whose suspension stops it
	SuspendedIn policy.Origin `json:"suspended_in,omitempty"` // the list of a fleet that says so, and no command here
	CountsFor   string        `json:"counts_for,omitempty"`   // the owner whose limit, counters and suspension cover it, where that is not its own

	FirstEnforced *time.Time `json:"first_enforced"` // whence "not seen for" counts; nil where that is not known yet
}

// Modes are the services as they are now.
type Modes struct {
	Generation uint64    `json:"generation"`
	Services   []Service `json:"services"`
	Warnings   []string  `json:"warnings,omitempty"` // of a mode that was set: who is suspended and gets in
}

// DetachResult says what is left.
type DetachResult struct {
	Detached []string `json:"detached"`
	Left     []string `json:"left"`            // still attached; the daemon ends when empty
	Ended    bool     `json:"ended,omitempty"` // a daemon answered, and ends, as nothing is left to it
}
