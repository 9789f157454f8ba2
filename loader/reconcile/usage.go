package reconcile

// This file says when the use of entries and owners is written to the database.

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/usage"
)

// A checkpoint is made so seldom that it takes a hundredth of the time: to look at a
// million entries takes two seconds.
const (
	checkpointEvery = time.Minute
	checkpointShare = 100
)

// keepUse makes checkpoints until ctx ends. Between the slices of one, others make changes.
func (e *Engine) keepUse(ctx context.Context) {
	if err := e.prune(); err != nil {
		e.options.Log.Error(fmt.Sprintf("forget the use of what is gone: %v", err))
	}
	for wait := time.Second; ; { // not while a start is under way
		select {
		case <-ctx.Done():
			return
		case <-e.life.done:
			return
		case <-time.After(wait):
		}
		start := time.Now()
		e.mu.Lock()
		checkpoint := e.enforced.Usage.Checkpoint(e.disk.Store, e.enforced.Policy.Entries, compile.Boottime(), e.enforced.Usage.Lacks())
		e.unlock()
		for more := true; more && ctx.Err() == nil; {
			e.mu.Lock()
			more = checkpoint.Next(e.enforced.Policy.Entries, time.Now())
			e.noteUse(checkpoint.Err)
			e.unlock()
		}
		checkpoint.Stop()
		wait = max(checkpointEvery, checkpointShare*time.Since(start))
	}
}

// lastUse makes the last checkpoint, of what has changed since the one before. The
// caller holds the mutex.
func (e *Engine) lastUse() error {
	checkpoint := e.enforced.Usage.Checkpoint(e.disk.Store, e.enforced.Policy.Entries, compile.Boottime(), false)
	defer checkpoint.Stop()
	for checkpoint.Next(e.enforced.Policy.Entries, time.Now()) {
	}
	return checkpoint.Err
}

func (e *Engine) noteUse(err error) {
	e.problems.Forget("use_behind")
	if err != nil {
		e.problems.Note(problems.Disk("use_behind", e.options.State, "when entries were last seen is kept until a reboot only: %v", err))
	}
}

// keepOwnerUse saves what was counted for owners since the last time, for after a reboot.
func (e *Engine) keepOwnerUse() {
	e.mu.Lock()
	defer e.unlock()
	if err := e.enforced.Usage.SaveOwners(e.disk.Store); err != nil {
		e.noteUse(err)
	}
}

// prune forgets how that was used which is enforced no longer.
func (e *Engine) prune() error {
	e.mu.Lock()
	entries := e.enforced.Policy.Entries
	e.unlock()
	gone, err := usage.Unlisted(e.disk.Store, entries)
	e.mu.Lock()
	defer e.unlock()
	e.enforced.Usage.Leave(gone, e.enforced.Policy.Entries)
	return err
}
