package reconcile

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file writes the use of entries to the database now and then. It goes through a
// million of them in slices, between which others make changes.

// A checkpoint is made so seldom that it takes a hundredth of the time: to look at a
// million entries takes two seconds.
const (
	checkpointEvery = time.Minute
	checkpointShare = 100
)

// keepUse makes checkpoints until ctx ends.
func (e *Engine) keepUse(ctx context.Context) {
	if err := e.prune(); err != nil {
		e.options.Log.Error(fmt.Sprintf("forget the use of what is gone: %v", err))
	}
	for wait := time.Second; ; { // not while a start is under way
		select {
		case <-ctx.Done():
			return
		case <-e.done:
			return
		case <-time.After(wait):
		}
		start := time.Now()
		e.mu.Lock()
		w := e.newWalk(e.view.uses.full)
		e.mu.Unlock()
		for more := true; more && ctx.Err() == nil; {
			e.mu.Lock()
			more = w.goOn()
			e.noteUse(w.err)
			e.mu.Unlock()
		}
		w.stop()
		wait = max(checkpointEvery, checkpointShare*time.Since(start))
	}
}

// lastUse makes the last checkpoint, of what has changed since the one before. The
// caller holds the mutex.
func (e *Engine) lastUse() error {
	w := e.newWalk(false)
	defer w.stop()
	for w.goOn() {
	}
	return w.err
}

func (e *Engine) noteUse(err error) {
	delete(e.noted, "use_behind")
	if err != nil {
		e.noted["use_behind"] = Problem{
			Code: "use_behind", Subject: e.options.State,
			Text: fmt.Sprintf("when entries were last seen is kept until a reboot only: %v", err), Hint: "df " + e.options.State,
		}
	}
}

// walk is one checkpoint on its way through the entries.
type walk struct {
	e     *Engine
	life  uint32
	full  bool
	since uint32 // seconds of CLOCK_BOOTTIME: what was seen before is on disk
	began uint32
	next  func() (*policy.Entry, bool)
	stop  func()
	ready map[netip.Prefix]store.Use // to be saved
	err   error
}

// newWalk begins a checkpoint: a full one also looks for entries that the database
// knows nothing of. The caller holds the mutex, and stops the walk in the end.
func (e *Engine) newWalk(full bool) *walk {
	u := &e.view.uses
	w := &walk{e: e, life: u.life, full: full, since: u.since, began: uint32(compile.Boottime()/time.Second) - 1, ready: map[netip.Prefix]store.Use{}}
	if w.full {
		w.since = 0
	}
	w.next, w.stop = iter.Pull(e.view.Policy.Entries.All())
	if w.err = u.note(e.store); w.err == nil {
		w.err = e.keepLeft()
	}
	return w
}

// keepLeft writes how that was used which a rollback may bring back, and forgets what none
// can.
func (e *Engine) keepLeft() error {
	u := &e.view.uses
	left := map[netip.Prefix]store.Use{}
	for prefix, use := range u.left {
		if use != nil {
			left[prefix] = *use
		}
	}
	if len(u.gone)+len(left) == 0 {
		return nil
	}
	err := e.store.SaveUse(store.Checkpoint{Use: left, Forget: slices.Collect(maps.Keys(u.gone))})
	if err != nil {
		return err
	}
	clear(u.gone)
	for prefix := range left {
		u.left[prefix] = nil
	}
	return nil
}

// goOn takes the next slice and reports whether there is another. The caller holds the
// mutex. A publish in between retires what the walk has read: the next one is for that.
func (w *walk) goOn() bool {
	if w.err != nil || w.e.view.uses.life != w.life {
		return false
	}
	more := true
	var entries []*policy.Entry
	for len(entries) < chunk && more {
		var e *policy.Entry
		if e, more = w.next(); more {
			entries = append(entries, e)
		}
	}
	if w.err = w.read(entries); w.err == nil && (!more || len(w.ready) >= chunk) {
		w.err = w.save()
	}
	if u := &w.e.view.uses; w.err == nil && !more {
		u.since, u.folding, u.full = w.began, w.life, u.full && !w.full
		clear(u.folded) // what is left is of no entry
	}
	return w.err == nil && more
}

// read makes ready what the database does not know of entries.
func (w *walk) read(entries []*policy.Entry) error {
	v := &w.e.view
	var changed []netip.Prefix
	for _, e := range entries {
		live, found, err := v.gate.Tables.Lookup(e.Prefix)
		if err != nil {
			return err
		}
		_, folded := v.uses.folded[e.Prefix]
		_, fresh := v.uses.fresh[e.Prefix]
		if w.full || folded || fresh || found && live.LastSeen != 0 && live.LastSeen >= w.since {
			changed = append(changed, e.Prefix)
		}
	}
	saved, err := w.e.store.UseOf(changed)
	if err != nil {
		return err
	}
	for _, prefix := range changed {
		if _, found := v.Policy.Entries.Find(prefix); !found {
			continue // removed since the walk began
		}
		before := saved[prefix]
		use, err := v.use(prefix, before)
		if err != nil {
			return err
		}
		if use.FirstEnforced.IsZero() {
			use.FirstEnforced = time.Now().UTC().Truncate(time.Second)
		}
		if use.Live == 0 && before.Live == 0 {
			use.Life = before.Life // nothing counts on it: not worth writing
		}
		if use != before {
			w.ready[prefix] = use
		}
	}
	return nil
}

// save writes what is ready. Who was removed meanwhile stays forgotten, also when added
// again.
func (w *walk) save() error {
	u := &w.e.view.uses
	for prefix, use := range w.ready {
		_, found := w.e.view.Policy.Entries.Find(prefix)
		if before, fresh := u.fresh[prefix]; !found || fresh && !before.FirstEnforced.IsZero() && !before.FirstEnforced.Equal(use.FirstEnforced) {
			delete(w.ready, prefix)
		}
	}
	if err := w.e.store.SaveUse(store.Checkpoint{Use: w.ready}); err != nil {
		return err
	}
	for prefix := range w.ready {
		delete(u.folded, prefix)
		delete(u.fresh, prefix)
		delete(u.gone, prefix)
	}
	clear(w.ready)
	return nil
}

// prune finds records of what is enforced no longer: a daemon that was killed has not
// forgotten all that was removed. What the last change removed may yet be rolled back, so
// they go with the next.
func (e *Engine) prune() error {
	e.mu.Lock()
	state := e.view.Policy
	e.mu.Unlock()
	var gone []netip.Prefix
	err := e.store.EachUse(func(prefix netip.Prefix, _ store.Use) {
		if _, found := state.Entries.Find(prefix); !found {
			gone = append(gone, prefix)
		}
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, prefix := range gone {
		_, found := e.view.Policy.Entries.Find(prefix)
		if _, left := e.view.uses.left[prefix]; !found && !left {
			e.view.uses.left[prefix] = nil
		}
	}
	return err
}
