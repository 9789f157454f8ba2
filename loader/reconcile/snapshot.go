package reconcile

import (
	"maps"
	"os"
	"sync/atomic"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file is the engine as who asks sees it. Questions are answered from what stood when
// the lock was last given back, and never wait for it: neither does a list of a million
// wait for a change, nor a change for the list.

// snapshot is the engine at one moment. Nothing in it changes.
type snapshot struct {
	asked    query.View
	problems []api.Problem
	failing  map[policy.Origin]error
	followed follow.Origins
	last     *api.Change
	pending  *store.Confirm
	repairs  map[string]uint64
}

// shown is the snapshot from which questions are answered.
type shown struct {
	atomic.Pointer[snapshot]
	moving atomic.Pointer[chan struct{}] // not nil while the kernel has something else, closed when that is shown
}

// unlock gives the lock back, and shows what stands now to those who ask.
func (e *Engine) unlock() {
	e.show()
	e.mu.Unlock()
}

// show shows what stands now to those who ask. The caller holds the mutex.
func (e *Engine) show() {
	e.shown.set(&snapshot{
		asked: *e.enforced.View(), problems: e.problems.found, failing: e.files.failing, followed: maps.Clone(e.files.followed.origins), last: e.disk.last, pending: e.unsettled.pending,
		repairs: e.interfaces.Checker.Counts(),
	})
}

func (s *shown) set(now *snapshot) {
	s.Store(now)
	if moving := s.moving.Swap(nil); moving != nil {
		close(*moving)
	}
}

// move notes that from now on the kernel judges by something else than what is shown, until
// that is shown. The caller holds the engine's mutex.
func (s *shown) move() {
	if s.moving.Load() == nil {
		moving := make(chan struct{})
		s.moving.Store(&moving)
	}
}

// patience is how long a question about the kernel waits until what the kernel has is shown,
// which takes a moment, but for an owner among very many entries who is being suspended.
const patience = time.Second

// answer calls ask with a snapshot that is what the kernel has before and after. Past its
// patience it takes what is shown: the kernel may then have more of the change under way.
func (s *shown) answer(ask func(*snapshot) error) error {
	for late := time.After(patience); ; {
		shown := s.Load()
		moving := s.moving.Load()
		if moving == nil {
			err := ask(shown)
			if s.moving.Load() == nil && s.Load().asked.Generation == shown.asked.Generation {
				return err
			}
			select {
			case <-late: // one change follows another
				return err
			default:
				continue
			}
		}
		select {
		case <-*moving:
		case <-late:
			return ask(s.Load())
		}
	}
}

// statusOf is the status as of s, with how interfaces are guarded.
func (e *Engine) statusOf(s *snapshot, guarded repair.Guarded) api.Status {
	status := s.asked.Status(s.failing, s.followed)
	status.Enforcing, status.Problems = repair.Enforcing(s.problems), s.problems
	status.Interfaces, status.Backstop = guarded.Report(), guarded.ReportBackstop()
	status.LastChange, status.Version = s.last, e.options.Version
	status.Daemon = &api.Daemon{PID: os.Getpid(), Since: e.life.started.Truncate(time.Second)}
	if s.pending != nil {
		status.Confirm = query.WaitingOf(*s.pending, s.pending.Left(time.Now(), e.unsettled.bootID, compile.Boottime()))
	}
	return status
}
