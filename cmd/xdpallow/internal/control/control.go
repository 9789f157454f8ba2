// Package control is how a command talks to the running daemon: HTTP/1.1 and
// JSON on a unix socket, with the kernel's word (SO_PEERCRED) on who asks.
package control

import (
	"context"
	"io"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Reader answers questions. It changes nothing, so group xdpallow may ask.
type Reader interface {
	Status(ctx context.Context) (api.Status, error)
	Stats(ctx context.Context) (api.Stats, error)
	Owners(ctx context.Context) (api.Owners, error)
	// History returns the last changes, all when last is 0.
	History(ctx context.Context, last int) (api.History, error)
	// List writes the entries that are asked for, all when nothing is. What was written before
	// an error is no list.
	List(ctx context.Context, req api.ListRequest, w io.Writer) (api.LeftOut, error)
	// Export writes what commands made, with all also what is declared, see transfer.Write.
	// What was written before an error is no export.
	Export(ctx context.Context, all bool, w io.Writer) error
	// Table writes who is listed for service, "" for any, as a proxy reads it, see query.View.
	// What was written before an error is no table.
	Table(ctx context.Context, format, service string, w io.Writer) error
	// Check returns one result an address for port, or one for every protected port when it is nil.
	Check(ctx context.Context, addrs []netip.Addr, port *policy.Port) ([]api.CheckResult, error)
}

// Watcher tells of the present, which only a daemon knows.
type Watcher interface {
	// Complete returns the prefixes on the list that begin so, or how these go on where they are
	// many; with made of those only that commands made alone.
	Complete(ctx context.Context, begin string, made bool) ([]string, error)
	// Live returns the gate at a glance, with so many talkers.
	Live(ctx context.Context, rows int) (api.Live, error)
	// Openings returns what owner has opened, for who probes him.
	Openings(ctx context.Context, owner string) (api.Openings, error)
	// Events calls fn for the last n events, the oldest first, and with follow for those
	// to come, until ctx ends or fn fails.
	Events(ctx context.Context, n int, follow bool, fn func(events.Event) error) error
}

// Writer changes what is enforced, for uid 0 and group xdpallow-admin.
type Writer interface {
	Detacher
	Add(ctx context.Context, who api.Caller, req api.AddRequest) (api.Listing, error)
	Remove(ctx context.Context, who api.Caller, req api.RemoveRequest) (api.Listing, error)
	Replace(ctx context.Context, who api.Caller, req api.ReplaceRequest) (api.Plan, error)
	Import(ctx context.Context, who api.Caller, req api.ImportRequest) (api.Plan, error)
	Reload(ctx context.Context, who api.Caller, req api.ReloadRequest) (api.Plan, error)
	Confirm(ctx context.Context, who api.Caller, req api.ConfirmRequest) (api.Waiting, error)
	Rollback(ctx context.Context, who api.Caller, req api.RollbackRequest) (api.Plan, error)
	Mode(ctx context.Context, who api.Caller, req api.ModeRequest) (api.Modes, error)
	Suspend(ctx context.Context, who api.Caller, req api.SuspendRequest) (api.SuspendResult, error)
	Resume(ctx context.Context, who api.Caller, req api.SuspendRequest) (api.SuspendResult, error)
	Limit(ctx context.Context, who api.Caller, req api.LimitRequest) (api.LimitResult, error)
	Cut(ctx context.Context, who api.Caller, req api.CutRequest) (api.CutResult, error)
	// Probe says whom the caller may knock at; it changes nothing and is noted.
	Probe(ctx context.Context, who api.Caller, req api.ProbeRequest) (api.ProbePlan, error)
}

// Detacher opens the gate; unlike the other changes it needs no daemon.
type Detacher interface {
	Detach(ctx context.Context, who api.Caller, req api.DetachRequest) (api.DetachResult, error)
}

// Engine is all that a daemon can do.
type Engine interface {
	Reader
	Watcher
	Writer
}

// The paths of questions, below the socket.
const (
	pathStatus   = "/v1/status"
	pathStats    = "/v1/stats"
	pathEntries  = "/v1/entries" // ?owner=&prefix=&unused=&expiring=&expired&format=&columns=, the durations as time.Duration has them; the answer is the text
	pathTable    = "/v1/table"   // ?format=&service=; the answer is the text
	pathCheck    = "/v1/check"   // ?address=&port=
	pathHistory  = "/v1/history" // ?last=
	pathExport   = "/v1/export"  // ?all=; the answer is the text
	pathOwners   = "/v1/owners"
	pathComplete = "/v1/complete" // ?begin=&made=
	pathLive     = "/v1/live"     // ?rows=
	pathOpenings = "/v1/openings" // ?owner=
	pathEvents   = "/v1/events"   // ?last=&follow=
)

// What the caller says of a change himself, escaped as in a query.
const (
	headerCommand = "Xdpallow-Command"
	headerReason  = "Xdpallow-Reason"
	headerMost    = "Xdpallow-Most"      // a decimal number; a daemon that does not know it tells all
	headerLogin   = "Xdpallow-Login-Uid" // "" where it is not known; only root is believed
)

// maxBody bounds a request, in bytes: a million prefixes fit, an endless
// stream of them cannot take the daemon's memory.
const maxBody = 64 << 20
