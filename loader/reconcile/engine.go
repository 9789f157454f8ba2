package reconcile

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/lock"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Options are what a daemon is started with.
type Options struct {
	Interfaces []string
	Services   []policy.Service // sorted by name; nil leaves them to Config
	Allow      []string         // prefixes
	Files      []string         // list files and directories of them
	Config     string           // config file, read at start and on reload; "" is none
	Attach     loader.Mode      // "" is that of the last good policy
	Backstop   string           // "on", "off", "" as it was in the last good policy
	State      string           // directory
	Root       string           // of the pins
	Force      policy.Force
	KeepEnded  time.Duration // how long an entry of add stays after its end; 0 is DefaultKeepEnded
	Version    string
	Command    string // as it was typed, for the change log
	HintFlags  string // what a command needs to reach this daemon, " --socket PATH", or ""
	Log        *slog.Logger

	BackstopTyped bool // Backstop is a flag of this start, and no key of Config
}

// Engine is the running gate: the desired state, the kernel that should agree with
// it, and the store that outlives both. Its methods may be called from several
// goroutines.
type Engine struct {
	options  Options
	started  time.Time
	store    *store.Store
	observer *observer // has locks of its own

	reading sync.Mutex // of files; taken before mu

	shown  atomic.Pointer[snapshot]      // what questions are answered from, see unlock
	moving atomic.Pointer[chan struct{}] // not nil while the kernel has something else, closed when that is shown

	mu       turn // of everything below; a change holds it from first to last
	view     view
	failing  map[policy.Origin]error // origins whose last reading was not taken over
	list     list
	last     *api.Change
	told     time.Time              // when it was last said what ends soon
	forgetAt time.Time              // when the next entry of add goes that has ended; zero is never
	released map[string]bool        // interfaces that detach took: never attached again
	wanted   map[string]api.Problem // interfaces that should be guarded and are not
	unnamed  map[string]bool        // guarded, and no longer named
	end      time.Time              // when the next claim ends beside another; zero is never
	shut     []policy.Opening       // what the config file would open, and this start kept shut
	torn     error                  // of the effective list, at start
	troubles []store.Trouble        // what was found wrong with the files of the state, and put right
	stood    bool                   // a gate was up when we came
	up       bool                   // Start has succeeded
	settings *config.Settings       // of the config file, as this daemon was started with
	problems []api.Problem          // as of the last probe
	attached []string               // log lines of interfaces, until Announce
	later    []string               // and those that follow them
	noted    map[string]api.Problem // by code, of parts of the daemon that are not ours
	pending  *store.Confirm         // what waits for its confirmation, or nil
	retry    time.Time              // of a rollback that failed
	held     held                   // files that were rolled back
	bootID   string                 // "" where it cannot be read: then nothing is of this boot
	poked    chan struct{}          // something else may be due next
	checker  *repair.Checker
	done     chan struct{} // closed when detach took the last interface

	leftOut      []policy.Port // what the config file would audit beside that: not guarded meanwhile
	backstopKept bool          // the config file turns it off, and this start kept it on
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
		mu:       newTurn(),
		options:  o,
		bootID:   bootID,
		poked:    make(chan struct{}, 1),
		started:  time.Now().UTC(),
		store:    kept,
		stood:    gate.Up(),
		view:     newView(gate, kept.UseOf),
		failing:  map[policy.Origin]error{},
		released: map[string]bool{},
		wanted:   map[string]api.Problem{},
		unnamed:  map[string]bool{},
		noted:    map[string]api.Problem{},
		observer: newObserver(time.Now()),
		done:     make(chan struct{}),
	}
	e.checker = repair.New(gate, o.Log, e.command, e.view.usage.AddRetired)
	gate.Tables.BeforeMove = e.move
	e.Alive() // there is a state to ask for, if an empty one
	return e, nil
}

// Close lets go. What is pinned goes on enforcing; what never got so far as to guard
// anything is removed.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.unlock()
	var left error
	if !e.up {
		left = e.leaveNothing()
	} else if left = e.saveMisses(); !e.isDone() {
		left = errors.Join(left, e.lastUse(), e.view.usage.SaveOwners(e.store))
	}
	return errors.Join(left, e.settleList(), e.view.gate.Close(), e.store.Close())
}

func (e *Engine) isDone() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// Done is closed when detach has taken the last interface: there is nothing left to
// guard, and the daemon ends.
func (e *Engine) Done() <-chan struct{} { return e.done }

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
	status := e.statusOf(e.shown.Load(), repair.Inspect(e.view.gate, links))
	status.Uncovered, status.Routed = links.Uncovered(e.view.gate.Attached())
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
	return now.asked.Owners(now.asked.Counts.Owners)
}

// Stats returns the counters. The error is that of reading them.
func (e *Engine) Stats(context.Context) (api.Stats, error) {
	now := e.shown.Load()
	s, err := now.asked.Stats(now.asked.Counts.Owners)
	s.Owners = e.withMisses(s.Owners)
	s.EventsLost, s.Repairs = e.observer.log.Lost(), now.repairs
	return s, err
}

// List returns the entries that r asks for.
func (e *Engine) List(_ context.Context, r api.ListRequest) (api.Listing, error) {
	return e.shown.Load().asked.List(r)
}

// Export writes what commands made, and with all what is declared.
func (e *Engine) Export(_ context.Context, all bool, w io.Writer) error {
	return e.shown.Load().asked.Export(w, all)
}

// Check returns what happens to openings from addrs, at port or at every protected one.
func (e *Engine) Check(_ context.Context, addrs []netip.Addr, port *policy.Port) (results []api.CheckResult, err error) {
	err = e.whenShown(func(s *snapshot) (err error) {
		results, err = s.asked.Check(addrs, port)
		return err
	})
	return results, err
}

// Families counts the entries of IPv4 and IPv6.
func (e *Engine) Families() (ipv4, ipv6 int) {
	return e.shown.Load().asked.Policy.Entries.Families()
}
