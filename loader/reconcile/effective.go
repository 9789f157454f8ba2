package reconcile

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file keeps the effective list, from which a host that was booted enforces. A
// change is on disk before it is acknowledged, appended to the list or, where much is
// declared anew, with the list; the list itself, which is written whole, follows.

// disk is the state directory, and what is known of the files in it.
type disk struct {
	*store.Store
	list list
	last *api.Change // that was recorded
}

// lastGeneration is that of the last change that was recorded, 0 where that cannot be read.
func (d *disk) lastGeneration() uint64 {
	generation, err := d.Generation()
	if err != nil {
		return 0
	}
	return generation
}

// list is what is known of the effective list on disk.
type list struct {
	writing sync.Mutex      // taken while holding the engine's: snapshots are written in their order
	saved   store.Effective // without claims
	torn    bool
	older   bool          // than the database
	behind  *time.Timer   // runs when the list is older and is about to be written, else nil
	took    time.Duration // the last writing
	closed  bool
}

// A list is written a little later than it could be, and so seldom that it takes a
// tenth of the time: a million lines take a second. A long one is not written before the
// changes that are appended to it have grown, see store.Outgrown.
const (
	saveAfter = time.Second
	saveShare = 10
)

// outdated reports whether the list says something else of the daemon's settings, or
// is no list at all.
func (l *list) outdated(o Options) bool {
	return l.torn || l.saved.Generation == 0 || !slices.Equal(l.saved.Interfaces, o.Interfaces) ||
		l.saved.Attach != string(o.Attach) || l.saved.Backstop != o.Backstop
}

// effective is what the list says of d.
func (e *Engine) effective(generation uint64, d desired.State) store.Effective {
	return store.Effective{
		Generation: generation, Services: d.Policy.Services, Interfaces: e.options.Interfaces,
		Attach: string(e.options.Attach), Backstop: e.options.Backstop, Claims: d.Claims(),
	}
}

// save writes the effective list now. The caller holds the mutex.
func (e *Engine) save() error {
	start := time.Now()
	list := e.effective(e.disk.lastGeneration(), e.enforced.State)
	e.disk.list.writing.Lock()
	defer e.disk.list.writing.Unlock()
	return e.saved(list, time.Since(start), e.disk.SaveEffective(list))
}

// saved notes what was written. The caller holds the mutex.
func (e *Engine) saved(list store.Effective, took time.Duration, err error) error {
	e.disk.list.took = took
	if err != nil {
		return fmt.Errorf("record in %s: %w", e.options.State, err)
	}
	e.listed(list)
	return nil
}

// listed notes that list is on disk.
func (e *Engine) listed(list store.Effective) {
	list.Claims = nil
	e.disk.list.saved, e.disk.list.torn, e.disk.list.older = list, false, list.Generation != e.disk.lastGeneration()
	e.problems.Forget("list_behind")
}

// saveSoon has the list follow the database. The caller holds the mutex.
func (e *Engine) saveSoon() {
	e.disk.list.older = true
	if e.disk.list.behind == nil && !e.disk.list.closed && e.disk.Outgrown() {
		e.disk.list.behind = time.AfterFunc(max(saveAfter, saveShare*e.disk.list.took), e.catchUp)
	}
}

// catchUp writes the list that is behind, while others go on with changes.
func (e *Engine) catchUp() {
	e.mu.Lock()
	defer e.unlock()
	if e.disk.list.behind == nil { // Close came first
		return
	}
	e.disk.list.behind = nil
	start := time.Now()
	list := e.effective(e.disk.lastGeneration(), e.enforced.State)
	snapshot, err := e.disk.Snapshot(list)
	if err == nil {
		e.disk.list.writing.Lock()
		e.unlock()
		err = snapshot.Save()
		e.disk.list.writing.Unlock()
		e.mu.Lock()
	}
	if err = e.saved(list, time.Since(start), err); err != nil {
		e.problems.Note(problems.Disk("list_behind", e.options.State, "what changes is kept, but the list cannot be written anew: %v", err))
		e.saveSoon()
	}
}

// settleList ends the writing of the list, for good. The caller holds the mutex.
func (e *Engine) settleList() error {
	var err error
	e.disk.list.closed = true // the next daemon may be writing it
	if e.disk.list.behind != nil {
		e.disk.list.behind.Stop()
	}
	if e.disk.list.behind != nil || e.disk.list.older {
		e.disk.list.behind = nil
		err = e.save()
	}
	e.disk.list.writing.Lock() // nobody is at it any more
	defer e.disk.list.writing.Unlock()
	return err
}
