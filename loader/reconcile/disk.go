package reconcile

import (
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/effective"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/store"
)

// disk is the state directory, and what is known of the files in it.
type disk struct {
	*store.Store
	list *effective.List
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

// effective is what the effective list says of d.
func (e *Engine) effective(generation uint64, d desired.State) store.Effective {
	return store.Effective{
		Generation: generation, Services: d.Policy.Services, Interfaces: e.options.Interfaces,
		Attach: string(e.options.Attach), Backstop: e.options.Backstop, Claims: d.Claims(),
	}
}

// lister is the engine as its effective list sees it; it implements effective.Daemon.
type lister struct{ *Engine }

// Lock implements effective.Daemon.
func (l lister) Lock() { l.mu.Lock() }

// Unlock implements effective.Daemon.
func (l lister) Unlock() { l.unlock() }

// Enforced implements effective.Daemon.
func (l lister) Enforced() store.Effective {
	return l.effective(l.disk.lastGeneration(), l.enforced.State)
}

// Behind implements effective.Daemon.
func (l lister) Behind(err error) {
	if l.problems.Forget("list_behind"); err != nil {
		l.problems.Note(problems.Disk("list_behind", l.options.State, "what changes is kept, but the list cannot be written anew: %v", err))
	}
}
