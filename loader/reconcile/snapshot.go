package reconcile

import (
	"maps"

	"github.com/xdpallow/xdpallow/loader/shown"
)

// unlock gives the lock back, and shows what stands now to those who ask.
func (e *Engine) unlock() {
	e.show()
	e.mu.Unlock()
}

// show shows what stands now to those who ask. The caller holds the mutex.
func (e *Engine) show() {
	e.current.Show(&shown.Snapshot{
		View: *e.enforced.View(), Problems: e.problems.found, Failing: e.files.failing, Followed: maps.Clone(e.files.followed.origins),
		Last: e.disk.last, Pending: e.unsettled.pending, Repairs: e.interfaces.Checker.Counts(), Agreed: e.files.probe,
	})
}
