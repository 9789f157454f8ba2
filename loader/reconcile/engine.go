package reconcile

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/attach"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/enforce"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/lock"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/observer"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// Options are what a daemon is started with.
type Options struct {
	declared.Sources
	Interfaces []string
	Attach     loader.Mode   // "" is that of the last good policy
	State      string        // directory
	Root       string        // of the pins
	KeepEnded  time.Duration // how long an entry of add stays after its end; 0 is DefaultKeepEnded
	Version    string
	Command    string // as it was typed, for the change log
	HintFlags  string // what a command needs to reach this daemon, " --socket PATH", or ""

	Follower func(source.Settings) source.Follower // see source.NewGroup

	// OwnerChecks are the answers of the owner endpoint about these services; nil without one.
	OwnerChecks func([]policy.Service) []api.OwnerCheck
}

// Engine is the running gate: the desired state, the kernel that should agree with
// it, and the store that outlives both. Its methods may be called from several
// goroutines.
type Engine struct {
	options  Options // the settings that are in force; some change until a start has succeeded
	life     life
	observer *observer.Observer // has locks of its own
	shown    shown              // what questions are answered from, see unlock

	mu         turn // of everything below; a change holds it from first to last
	enforced   enforce.Enforced
	disk       disk
	files      files
	interfaces attach.Interfaces
	problems   problems
	unsettled  unsettled
	timers     timers
}

// Open takes possession of the state directory and the pin root. Nothing is touched
// when another daemon has either: it returns *lock.HeldError.
func Open(o Options) (*Engine, error) {
	// Before anything is made; loader.Open takes it for good. To look for a holder by
	// inode would not do: the root of every BPF file system is inode 1.
	if probe, err := lock.Take(o.Root); err == nil {
		probe.Close()
	} else if errors.As(err, new(*lock.HeldError)) {
		return nil, err
	}
	kept, err := store.Begin(o.State)
	if err != nil {
		return nil, err
	}
	gate, err := loader.Open(o.Root)
	if err != nil {
		kept.Close()
		return nil, err
	}
	bootID, err := store.BootID()
	if err != nil {
		o.Log.Warn(err.Error())
	}
	e := &Engine{
		options:   o,
		life:      life{started: time.Now().UTC(), stood: gate.Up(), done: make(chan struct{})},
		observer:  observer.New(time.Now()),
		mu:        newTurn(),
		enforced:  enforce.New(gate, kept, readClock()),
		disk:      disk{Store: kept},
		problems:  problems{noted: map[string]api.Problem{}},
		unsettled: unsettled{bootID: bootID},
		timers:    timers{poked: make(chan struct{}, 1)},
		files:     files{followed: followed{origins: follow.Origins{}}},
	}
	checker := repair.New(gate, o.Log, e.command, e.enforced.Usage.AddRetired)
	e.interfaces = attach.New(gate, checker, o.Log, e.sayAttached)
	gate.Tables.BeforeMove = e.shown.move
	e.Alive() // there is a state to ask for, if an empty one
	return e, nil
}

// Close lets go. What is pinned goes on enforcing; what never got so far as to guard
// anything is removed.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.unlock()
	var left error
	if !e.life.up {
		left = e.leaveNothing()
	} else if left = e.observer.Save(e.disk.Store); !e.life.isDone() {
		left = errors.Join(left, e.lastUse(), e.enforced.Usage.SaveOwners(e.disk.Store))
	}
	return errors.Join(left, e.settleList(), e.enforced.Gate.Close(), e.disk.Close())
}

// Done is closed when detach has taken the last interface: there is nothing left to
// guard, and the daemon ends.
func (e *Engine) Done() <-chan struct{} { return e.life.done }

// Status returns what status shows. The canary flies for it, so that the answer is of now;
// while a change is made, the problems are those found last.
func (e *Engine) Status(context.Context) (api.Status, error) {
	h := e.host()
	if e.mu.LockUnlessChanging() {
		e.probe(e.observe(h))
		e.unlock()
	}
	return e.statusBy(h.Links), nil
}

// Snapshot returns Status with the problems found last, for scrapes.
func (e *Engine) Snapshot(context.Context) (api.Status, error) {
	links, _ := netdev.Read() // of none, none is uncovered
	return e.statusBy(links), nil
}

// statusBy is the status as shown, with how interfaces are guarded now.
func (e *Engine) statusBy(links netdev.Interfaces) api.Status {
	status := e.statusOf(e.shown.Load(), repair.Inspect(e.enforced.Gate, links))
	status.Uncovered, status.Routed = links.Uncovered(e.enforced.Gate.Attached())
	return status
}

// Alive returns when nobody has had the engine for himself: never, where one has it for good.
func (e *Engine) Alive() {
	e.mu.Lock()
	e.unlock()
}

// Owners returns every owner. The error is that of reading what was counted for them.
func (e *Engine) Owners(context.Context) (api.Owners, error) {
	now := e.shown.Load()
	return now.asked.Owners(now.asked.Counts.Owners())
}

// Stats returns the counters. The error is that of reading them.
func (e *Engine) Stats(context.Context) (api.Stats, error) {
	now := e.shown.Load()
	s, err := now.asked.Stats(now.asked.Counts.Owners())
	s.Owners = e.observer.WithMisses(s.Owners)
	s.EventsLost, s.Repairs = e.observer.Log.Lost(), now.repairs
	if e.options.OwnerChecks != nil {
		s.OwnerChecks = e.options.OwnerChecks(now.asked.Policy.Services)
	}
	return s, err
}

// List gives write the entries that r asks for, as they stand when it is called. It waits for no
// change, and no change for it, however long write takes.
func (e *Engine) List(_ context.Context, r api.ListRequest, write func(api.Listed) error) error {
	listed, err := e.shown.Load().asked.List(r)
	if err != nil {
		return err
	}
	return write(listed)
}

// Complete returns the prefixes that begin so, see query.View.
func (e *Engine) Complete(_ context.Context, begin string, made bool) ([]string, error) {
	return e.shown.Load().asked.Complete(begin, made), nil
}

// Export writes what commands made, and with all what is declared.
func (e *Engine) Export(_ context.Context, all bool, w io.Writer) error {
	return transfer.Write(w, e.shown.Load().asked.State, all)
}

// Table writes who is listed for service, as a proxy reads it.
func (e *Engine) Table(_ context.Context, format, service string, w io.Writer) error {
	return e.shown.Load().asked.Table(w, format, service)
}

// Check returns what happens to openings from addrs, at port or at every protected one.
func (e *Engine) Check(_ context.Context, addrs []netip.Addr, port *policy.Port) (results []api.CheckResult, err error) {
	err = e.shown.answer(func(s *snapshot) (err error) {
		results, err = s.asked.Check(addrs, port)
		return err
	})
	return results, err
}

// Ownership returns whose addr is at a service, see query.View. It takes no lock: a proxy asks
// it for every request.
func (e *Engine) Ownership(addr netip.Addr, service, expected string) (api.Ownership, bool) {
	return e.shown.Load().asked.Ownership(addr, service, expected)
}

// Tell shows an event that no packet made to those who look at events.
func (e *Engine) Tell(event events.Event) { e.observer.Log.Add(event) }
