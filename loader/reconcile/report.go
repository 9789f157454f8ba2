package reconcile

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// The types of this file are the answers of the gate as the CLI prints them
// with -o json and as they cross the control socket. Fields may be added,
// never changed or removed (DESIGN 5.3). Times are UTC; a nil time is "never".

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
	Owners     int            `json:"owners"`
	Expiring   int            `json:"expiring"` // entries that end within Soon
	Services   []Service      `json:"services"`
	Origins    []OriginStatus `json:"origins"`
	Suspended  []Suspension   `json:"suspended"`   // prefixes, then owners
	LastChange *Change        `json:"last_change"` // as of the change log; nil before the first
	Confirm    *Waiting       `json:"confirm"`     // nil when nothing waits for its confirmation
	Daemon     *Daemon        `json:"daemon"`      // nil when no daemon runs
	Version    string         `json:"version"`
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

// Problem is one thing an operator should mend.
type Problem struct {
	Code    string `json:"code"`    // stable, for scripts: "not_enforcing", "interface_missing", ...
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
}

// Stats is the answer to "what did it do?".
type Stats struct {
	Counters []Counter  `json:"counters"` // every series, zero rows too, sorted
	Since    *time.Time `json:"since"`    // when counting began
	Owners   []Owner    `json:"owners"`   // of TCP openings, sorted

	EventsLost uint64 `json:"events_lost"` // sampled refusals that nobody could read, of this daemon

	Repairs map[string]uint64 `json:"repairs"` // what somebody else changed and this daemon put right
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

	Still    []Still  `json:"still_listed,omitempty"` // of remove: what wider entries list still
	Warnings []string `json:"warnings,omitempty"`     // of add: whose networks the entries lie in, and who is suspended there

	Foreseen // of remove
}

// Still is a prefix that was removed, and a wider entry that lets its sources in.
type Still struct {
	Prefix netip.Prefix `json:"prefix"`
	By     netip.Prefix `json:"by"`
	Owner  string       `json:"owner"` // of By
}

// ListRequest says which entries to list: those that meet every wish that is not zero.
type ListRequest struct {
	Owner    string        // NoOwner is that of entries without one
	Prefix   netip.Prefix  // that lie in it or cover it
	Unused   time.Duration // not seen for so long, counted from when they were first enforced
	Expiring time.Duration // that end within so long
	Expired  bool          // that have ended
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

	SuspendedBy string `json:"suspended_by,omitempty"` // the prefix or owner whose suspension stops it
	CountsFor   string `json:"counts_for,omitempty"`   // the owner whose limit, counters and suspension cover it, where that is not its own

	FirstEnforced *time.Time `json:"first_enforced"` // whence "not seen for" counts; nil where that is not known yet
}

// Caller is who asked for a change, from SO_PEERCRED, and what he says of it himself.
type Caller struct {
	UID      uint32
	PID      int32
	LoginUID *uint32 // who had logged in, before sudo or su; nil where that is not known
	Command  string  // as it was typed, without the program; "" is the name of the change
	Reason   string
}

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
	DryRun      bool `json:"dry_run"`
	ForceShrink bool `json:"force_shrink"`
	AllowEmpty  bool `json:"allow_empty"`
	AllowAny    bool `json:"allow_any"`
	AllowOpen   bool `json:"allow_open,omitempty"`
	CutSessions bool `json:"cut_sessions,omitempty"`

	Seen     string        `json:"seen,omitempty"`    // as of RemoveRequest
	Confirm  string        `json:"confirm,omitempty"` // a duration: rolled back unless confirmed within
	Sessions []policy.Peer `json:"sessions,omitempty"`
	Logins   []policy.Peer `json:"logins,omitempty"` // of anybody, see Logins
}

// DetachRequest opens the gate on the named interfaces, on all when none is named.
type DetachRequest struct {
	Interfaces []string `json:"interfaces"`
}

// DetachResult says what is left.
type DetachResult struct {
	Detached []string `json:"detached"`
	Left     []string `json:"left"`            // still attached; the daemon ends when empty
	Ended    bool     `json:"ended,omitempty"` // a daemon answered, and ends, as nothing is left to it
}
