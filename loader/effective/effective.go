// Package effective keeps the effective list, from which a host that was booted enforces, as new as
// the database. A change is on disk before it is acknowledged, appended to the list or, where much
// is declared anew, with the list; the list itself, which is written whole, follows.
package effective

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/store"
)

// Daemon owns the lock and the state that the list records.
type Daemon interface {
	// Lock and Unlock take and give back the lock under which changes are made.
	sync.Locker

	// Enforced returns what the list must say. The caller has the lock.
	Enforced() store.Effective

	// Behind is told, under the lock, why a list that was due cannot be written; nil: it was.
	Behind(err error)
}

// List is what is known of the effective list on disk. Its methods are called with the lock of
// the daemon.
type List struct {
	daemon Daemon
	store  *store.Store
	dir    string

	writing sync.Mutex      // taken while holding the daemon's: snapshots are written in their order
	saved   store.Effective // without claims
	torn    bool
	older   bool          // than the database
	behind  *time.Timer   // runs when the list is older and is about to be written, else nil
	took    time.Duration // the last writing
	closed  bool
}

// New returns the list of daemon, whose state is in dir. Nothing of it is known before Read.
func New(daemon Daemon, kept *store.Store, dir string) *List {
	return &List{daemon: daemon, store: kept, dir: dir}
}

// A list is written a little later than it could be, and so seldom that it takes a
// tenth of the time: a million lines take a second. A long one is not written before the
// changes that are appended to it have grown, see store.Outgrown.
const (
	saveAfter = time.Second
	saveShare = 10
)

// Read notes that a start has read list.
func (l *List) Read(list store.Effective) {
	l.saved = list
	l.saved.Claims = nil
}

// Tear notes that the list cannot be read, or is older than the database: the next change writes it
// whole.
func (l *List) Tear() { l.torn = true }

// Saved is the list on disk, without its claims.
func (l *List) Saved() store.Effective { return l.saved }

// Outdated reports whether the list says something else of the daemon's settings than want, or
// is no list at all.
func (l *List) Outdated(want store.Effective) bool {
	return l.torn || l.saved.Generation == 0 || !slices.Equal(l.saved.Interfaces, want.Interfaces) ||
		l.saved.Attach != want.Attach || l.saved.Backstop != want.Backstop
}

// Save writes the list now.
func (l *List) Save() error {
	start := time.Now()
	list := l.daemon.Enforced()
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.wrote(list, time.Since(start), l.store.SaveEffective(list))
}

// wrote notes that writing list took that long, and how it ended.
func (l *List) wrote(list store.Effective, took time.Duration, err error) error {
	l.took = took
	if err != nil {
		return fmt.Errorf("record in %s: %w", l.dir, err)
	}
	l.Wrote(list)
	return nil
}

// Wrote notes that list is on disk.
func (l *List) Wrote(list store.Effective) {
	generation, err := l.store.Generation()
	l.Read(list)
	l.torn, l.older = false, err != nil || list.Generation != generation
	l.daemon.Behind(nil)
}

// SaveSoon has the list follow the database.
func (l *List) SaveSoon() {
	l.older = true
	if l.behind == nil && !l.closed && l.store.Outgrown() {
		l.behind = time.AfterFunc(max(saveAfter, saveShare*l.took), l.catchUp)
	}
}

// catchUp writes the list that is behind, while others go on with changes.
func (l *List) catchUp() {
	l.daemon.Lock()
	defer l.daemon.Unlock()
	if l.behind == nil { // Close came first
		return
	}
	l.behind = nil
	start := time.Now()
	list := l.daemon.Enforced()
	snapshot, err := l.store.Snapshot(list)
	if err == nil {
		l.writing.Lock()
		l.daemon.Unlock()
		err = snapshot.Save()
		l.writing.Unlock()
		l.daemon.Lock()
	}
	if err = l.wrote(list, time.Since(start), err); err != nil {
		l.daemon.Behind(err)
		l.SaveSoon()
	}
}

// Close ends the writing of the list, for good: the next daemon may be writing it.
func (l *List) Close() error {
	var err error
	l.closed = true
	if l.behind != nil {
		l.behind.Stop()
	}
	if l.behind != nil || l.older {
		l.behind = nil
		err = l.Save()
	}
	l.writing.Lock() // nobody is at it any more
	defer l.writing.Unlock()
	return err
}
