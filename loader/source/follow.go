// This file is what an origin says, and the interface of those that change by themselves.

package source

import (
	"context"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Reading is what one origin said when it was read. With an Err there are no claims: a list
// counts as a whole or not at all.
type Reading struct {
	Origin   policy.Origin
	Claims   []policy.Claim // everything that the origin says, when Edit is nil
	Warnings []string
	Err      error // what was taken over last stays

	// Of followed origins only.
	Edit *policy.Edit // what has changed since the last reading that take took over; empty: nothing
	Mark string       // the origin's name for this state of it, an ETag or a serial number; "" is none
	Sum  string       // of the claims, the same for the same ones, in hexadecimal
	Why  string       // for history, "serial 58: fleet remove 203.0.113.0/24 (alice: OPS-1301)"

	// Of etcd lists only.
	Overrides *Overrides   // everything that it says over all origins; nil: what it said last
	Fleet     string       // the identity of the fleet; "": that of the last reading
	Manifest  []byte       // of the list as it is with Edit; nil: that of the last reading
	Force     policy.Force // what its writer allowed
}

// Overrides are what an etcd list says of prefixes and owners, whoever lists them.
type Overrides struct {
	Suspended []Suspension // one a subject
	Limits    []Limit      // one an owner
}

// Suspension stops a subject.
type Suspension struct {
	policy.Subject
	Reason string // as a note
	Since  time.Time
	Nested bool // of an owner: with what others have in his network
}

// Limit bounds how many connections an owner opens, on each host.
type Limit struct {
	Owner     string
	PerSecond float64 // over 0
	Burst     uint32  // over 0
}

// Trouble is an Err of a reading that has a problem code of its own.
type Trouble struct {
	Code string // as in api.Problem
	What string
	Hint string // a command, or ""
}

func (t *Trouble) Error() string { return t.What }

// Follower is an origin that is kept elsewhere.
type Follower interface {
	// Origin is one that policy.Origin.Followed reports to be so.
	Origin() policy.Origin

	// Follow hands each reading to take until ctx ends, also those with an Err, and those
	// that only say that the origin was there and has not changed. It keeps to its own
	// limits, and hands on what breaches them as an Err that names the line. It belongs to
	// one goroutine; take may wait for a minute.
	//
	// Where take returns an error nothing was taken over. A *policy.Refused or an
	// *policy.InputError says that the reading would be refused again: Follow does not hand
	// it on again until it has changed, or somebody calls Kick.
	Follow(ctx context.Context, have Have, take func(context.Context, Reading) error)

	// Kick has Follow look again now and hand on all that it finds, changed or not: somebody
	// asked for it, and may have lifted what refused it. It does not wait.
	Kick()
}

// Have is what is kept of an origin when it begins to be followed.
type Have struct {
	Claims    []policy.Claim // sorted by policy.ComparePrefix
	Mark, Sum string         // of the reading that they are of
	At        time.Time      // when it was taken over; zero: there was none yet
	Fleet     string         // likewise of an etcd list
	Manifest  []byte         // likewise
}
