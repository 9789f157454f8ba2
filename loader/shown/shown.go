// Package shown answers questions to a running daemon from a snapshot of what stood when the
// daemon's lock was last given back. Questions never wait for the lock: a list of a million
// entries does not wait for a change, nor a change for the list.
package shown

import (
	"context"
	"net/netip"
	"os"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/observer"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Daemon is a running daemon as who asks sees it. Its methods may be called from several
// goroutines.
type Daemon struct {
	query.Answers
	Observer *observer.Observer // has locks of its own

	current *Current
	about   About
}

// About is what stays the same of a daemon as long as it runs.
type About struct {
	Version string
	Since   time.Time
	BootID  string
	State   *store.Store
	Root    string // of the pins

	// OwnerChecks are the answers of the owner endpoint about these services; nil without one.
	OwnerChecks func([]policy.Service) []api.OwnerCheck
	Enrolments  func() []api.Enrolment // what became of those who asked to enrol; nil where nobody may
}

// New returns a daemon that tells what current has, which must have been shown something
// before anybody asks.
func New(current *Current, about About) Daemon {
	return Daemon{
		Answers:  func(fn func(*query.View) error) error { return fn(&current.Load().View) },
		Observer: observer.New(about.Since), current: current, about: about,
	}
}

// Shown is what stood when the lock was last given back.
func (d Daemon) Shown() *Snapshot { return d.current.Load() }

// Snapshot returns the status with the problems found last, for scrapes.
func (d Daemon) Snapshot(context.Context) (api.Status, error) {
	links, _ := netdev.Read() // of none, none is uncovered
	return d.StatusWith(links), nil
}

// StatusWith returns the status with the problems found last, and how interfaces, of which the
// host has links, are guarded now.
func (d Daemon) StatusWith(links netdev.Interfaces) api.Status {
	s := d.current.Load()
	status := d.status(s, links)
	status.Uncovered, status.Routed = links.Uncovered(s.Gate.Attached())
	return status
}

// status is that as of s.
func (d Daemon) status(s *Snapshot, links netdev.Interfaces) api.Status {
	guarded := repair.Inspect(s.Gate, links)
	status := s.Status(s.Failing, s.Followed)
	status.Enforcing, status.Problems = repair.Enforcing(s.Problems), s.Problems
	status.Interfaces, status.Backstop = guarded.Report(), guarded.ReportBackstop()
	status.LastChange, status.Version = s.Last, d.about.Version
	status.Daemon = &api.Daemon{PID: os.Getpid(), Since: d.about.Since.Truncate(time.Second), Bpffs: d.about.Root}
	if s.Pending != nil {
		status.Confirm = query.WaitingOf(*s.Pending, s.Pending.Left(time.Now(), d.about.BootID, compile.Boottime()))
	}
	return status
}

// Stats returns the counters. The error is that of reading them.
func (d Daemon) Stats(context.Context) (api.Stats, error) {
	now := d.current.Load()
	s, err := now.Stats()
	s.Owners = d.Observer.WithMisses(s.Owners)
	s.EventsLost, s.Repairs = d.Observer.Log.Lost(), now.Repairs
	if d.about.Enrolments != nil {
		s.Enrolments = d.about.Enrolments()
	}
	if d.about.OwnerChecks != nil {
		s.OwnerChecks = d.about.OwnerChecks(now.Policy.Services)
	}
	return s, err
}

// Check returns what happens to openings from addrs, at port or at every protected one.
func (d Daemon) Check(ctx context.Context, addrs []netip.Addr, port *policy.Port) ([]api.CheckResult, error) {
	return query.Answers(d.current.settled).Check(ctx, addrs, port)
}

// Complete returns the prefixes that begin so, see query.View.
func (d Daemon) Complete(_ context.Context, begin string, made bool) ([]string, error) {
	return d.current.Load().Complete(begin, made), nil
}

// Openings returns what owner has opened, for who probes him.
func (d Daemon) Openings(_ context.Context, owner string) (api.Openings, error) {
	return d.current.Load().Openings(owner)
}

// Ownership returns whose addr is at a service, see query.View. A proxy asks it for every
// request.
func (d Daemon) Ownership(addr netip.Addr, service, expected string) (api.Ownership, bool) {
	return d.current.Load().Ownership(addr, service, expected)
}

// History tells what was changed, as it is on disk.
func (d Daemon) History(_ context.Context, last int) (api.History, error) {
	return query.History(d.about.State, last)
}

// Live returns what top shows every second, with so many talkers. While a change is made, the
// status is that before it.
func (d Daemon) Live(_ context.Context, rows int) (api.Live, error) {
	host, err := os.Hostname()
	if err != nil {
		return api.Live{}, err
	}
	s := d.current.Load()
	owners, err := s.Owners()
	if err != nil {
		return api.Live{}, err
	}
	now := time.Now().UTC()
	l := api.Live{
		Time: now, Host: host, Status: d.status(s, netdev.Interfaces{}), Owners: d.Observer.WithMisses(owners.Owners),
		Talkers: d.Observer.Talkers.Snapshot(now, rows), EventsLost: d.Observer.Log.Lost(),
	}
	l.Counters, err = query.Counters(s.Gate)
	return l, err
}

// Events calls fn for the last n events, the oldest first, and with follow for those to
// come, until ctx ends or fn fails.
func (d Daemon) Events(ctx context.Context, n int, follow bool, fn func(events.Event) error) error {
	return d.Observer.Events(ctx, n, follow, fn)
}

// Tell shows an event that no packet made to those who look at events.
func (d Daemon) Tell(event events.Event) { d.Observer.Log.Add(event) }
