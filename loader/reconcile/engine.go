package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/attach"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/effective"
	"github.com/xdpallow/xdpallow/loader/enforce"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/lock"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/shown"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
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

	Enrol      enrol.Settings         // who may enrol
	Enrolments func() []api.Enrolment // what became of those who asked; nil where nobody may

	// OwnerChecks are the answers of the owner endpoint about these services; nil without one.
	OwnerChecks func([]policy.Service) []api.OwnerCheck
}

// Engine is the running gate: the desired state, the kernel that should agree with
// it, and the store that outlives both. Its methods may be called from several
// goroutines.
type Engine struct {
	shown.Daemon         // answers questions, without the lock
	options      Options // the settings that are in force; some change until a start has succeeded
	life         life
	current      *shown.Current // what questions are answered from, see unlock

	mu         turn // of everything below; a change holds it from first to last
	enforced   enforce.Enforced
	disk       disk
	files      files
	interfaces attach.Interfaces
	problems   mendable
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
	current := &shown.Current{}
	e := &Engine{
		Daemon:    shown.New(current, shown.About{Version: o.Version, Since: time.Now().UTC(), BootID: bootID, State: kept, Root: o.Root, OwnerChecks: o.OwnerChecks, Enrolments: o.Enrolments}),
		options:   o,
		life:      life{stood: gate.Up(), done: make(chan struct{})},
		current:   current,
		mu:        newTurn(),
		enforced:  enforce.New(gate, kept, readClock()),
		disk:      disk{Store: kept},
		problems:  mendable{Noted: problems.Noted{}},
		unsettled: unsettled{bootID: bootID},
		timers:    timers{poked: make(chan struct{}, 1)},
		files:     files{followed: followed{origins: follow.Origins{}}},
	}
	e.disk.list = effective.New(lister{e}, kept, o.State)
	checker := repair.New(gate, o.Log, e.command, e.enforced.Usage.AddRetired)
	e.interfaces = attach.New(gate, checker, o.Log, e.sayAttached)
	gate.Tables.BeforeMove = current.Move
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
	} else if left = e.Observer.Save(e.disk.Store); !e.life.isDone() {
		left = errors.Join(left, e.lastUse(), e.enforced.Usage.SaveOwners(e.disk.Store))
	}
	return errors.Join(left, e.disk.list.Close(), e.enforced.Gate.Close(), e.disk.Close())
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
	return e.StatusWith(h.Links), nil
}

// Alive returns when nobody has had the engine for himself: never, where one has it for good.
func (e *Engine) Alive() {
	e.mu.Lock()
	e.unlock()
}
