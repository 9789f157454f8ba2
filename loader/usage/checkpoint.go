package usage

// This file writes the use of entries to the database now and then. It goes through a
// million of them in slices, between which others make changes.

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// chunk is how many entries are looked at in one go.
const chunk = 4096

// Checkpoint is one on its way through the entries.
type Checkpoint struct {
	u     *Usage
	kept  *store.Store
	life  uint32
	full  bool
	since uint32 // seconds of CLOCK_BOOTTIME: what was seen before is on disk
	began uint32
	next  func() (*policy.Entry, bool)
	Stop  func()
	ready map[netip.Prefix]store.Use // to be saved
	Err   error                      // of the last Next, or of the beginning
}

// Checkpoint begins a checkpoint of entries to kept at boot, of CLOCK_BOOTTIME: a full one also looks for entries that the
// database knows nothing of. The caller calls Next until it reports false, and Stop in the end.
func (u *Usage) Checkpoint(kept *store.Store, entries policy.Entries, boot time.Duration, full bool) *Checkpoint {
	w := &Checkpoint{u: u, kept: kept, life: u.life, full: full, since: u.since, began: uint32(boot/time.Second) - 1, ready: map[netip.Prefix]store.Use{}}
	if w.full {
		w.since = 0
	}
	w.next, w.Stop = iter.Pull(entries.All())
	if w.Err = u.note(kept); w.Err == nil {
		w.Err = u.keepLeft(kept)
	}
	return w
}

// Lacks reports whether the database may know nothing of some entries, so that the next
// checkpoint is to be a full one.
func (u *Usage) Lacks() bool { return u.full }

// keepLeft writes how that was used which a rollback may bring back, and forgets what none
// can.
func (u *Usage) keepLeft(kept *store.Store) error {
	left := map[netip.Prefix]store.Use{}
	for prefix, use := range u.left {
		if use != nil {
			left[prefix] = *use
		}
	}
	if len(u.gone)+len(left) == 0 {
		return nil
	}
	err := kept.SaveUse(store.Checkpoint{Use: left, Forget: slices.Collect(maps.Keys(u.gone))})
	if err != nil {
		return err
	}
	clear(u.gone)
	for prefix := range left {
		u.left[prefix] = nil
	}
	return nil
}

// Next takes the next slice and reports whether there is another. entries are those that are
// enforced now. A publish in between retires what was read, and ends the checkpoint: the next
// one is for that.
func (w *Checkpoint) Next(entries policy.Entries, now time.Time) bool {
	if w.Err != nil || w.u.life != w.life {
		return false
	}
	more := true
	var some []*policy.Entry
	for len(some) < chunk && more {
		var e *policy.Entry
		if e, more = w.next(); more {
			some = append(some, e)
		}
	}
	if w.Err = w.read(some, entries, now); w.Err == nil && (!more || len(w.ready) >= chunk) {
		w.Err = w.save(entries)
	}
	if u := w.u; w.Err == nil && !more {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.since, u.folding, u.full = w.began, w.life, u.full && !w.full
		clear(u.retired) // what is left is of no entry
	}
	return w.Err == nil && more
}

// read makes ready what the database does not know of some entries.
func (w *Checkpoint) read(some []*policy.Entry, entries policy.Entries, now time.Time) error {
	u := w.u
	var changed []netip.Prefix
	for _, e := range some {
		live, found, err := u.tables.Lookup(e.Prefix)
		if err != nil {
			return err
		}
		_, retired := u.retired[e.Prefix]
		_, fresh := u.fresh[e.Prefix]
		if w.full || retired || fresh || found && live.LastSeen != 0 && live.LastSeen >= w.since {
			changed = append(changed, e.Prefix)
		}
	}
	saved, err := w.kept.UseOf(changed)
	if err != nil {
		return err
	}
	for _, prefix := range changed {
		if _, found := entries.Find(prefix); !found {
			continue // removed since the walk began
		}
		before := saved[prefix]
		use, err := u.use(prefix, before, u.compiler.Clock, nil)
		if err != nil {
			return err
		}
		if use.FirstEnforced.IsZero() {
			use.FirstEnforced = now.UTC().Truncate(time.Second)
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
func (w *Checkpoint) save(entries policy.Entries) error {
	u := w.u
	u.mu.Lock()
	defer u.mu.Unlock()
	for prefix, use := range w.ready {
		_, found := entries.Find(prefix)
		if before, fresh := u.fresh[prefix]; !found || fresh && !before.FirstEnforced.IsZero() && !before.FirstEnforced.Equal(use.FirstEnforced) {
			delete(w.ready, prefix)
		}
	}
	if err := w.kept.SaveUse(store.Checkpoint{Use: w.ready}); err != nil {
		return err
	}
	for prefix := range w.ready {
		delete(u.retired, prefix)
		delete(u.fresh, prefix)
		delete(u.gone, prefix)
	}
	clear(w.ready)
	return nil
}

// Unlisted returns the prefixes that kept has a use of and entries does not have: a daemon that
// was killed has not forgotten all that was removed. It can take long, and u is not used.
func Unlisted(kept *store.Store, entries policy.Entries) (prefixes []netip.Prefix, err error) {
	err = kept.EachUse(func(prefix netip.Prefix, _ store.Use) {
		if _, found := entries.Find(prefix); !found {
			prefixes = append(prefixes, prefix)
		}
	})
	return prefixes, err
}

// Leave has the use of those of prefixes forgotten that are not enforced now. What the last
// change removed may yet be rolled back, so they go with the next.
func (u *Usage) Leave(prefixes []netip.Prefix, entries policy.Entries) {
	for _, prefix := range prefixes {
		_, found := entries.Find(prefix)
		if _, left := u.left[prefix]; !found && !left {
			u.left[prefix] = nil
		}
	}
}
