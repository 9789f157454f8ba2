package shown

import (
	"sync/atomic"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file keeps the snapshot that is shown, and says while the kernel has something else.

// Snapshot is a daemon at one moment. Nothing in it changes.
type Snapshot struct {
	query.View
	Problems []api.Problem
	Failing  map[policy.Origin]error // origins that could not be read
	Followed follow.Origins
	Last     *api.Change    // nil: nothing was ever changed
	Pending  *store.Confirm // what waits for its confirmation, or nil
	Repairs  map[string]uint64
	Agreed   config.Probe // who may be probed
}

// Current is the snapshot that is shown. Load returns it; it may be called from several
// goroutines, Show and Move by whoever has the lock of the daemon.
type Current struct {
	atomic.Pointer[Snapshot]
	moving atomic.Pointer[chan struct{}] // not nil while the kernel has something else, closed when that is shown
}

// Show shows now to those who ask from here on.
func (c *Current) Show(now *Snapshot) {
	c.Store(now)
	if moving := c.moving.Swap(nil); moving != nil {
		close(*moving)
	}
}

// Move notes that the kernel is about to differ from the snapshot. The next Show ends that.
func (c *Current) Move() {
	if c.moving.Load() == nil {
		moving := make(chan struct{})
		c.moving.Store(&moving)
	}
}

// patience is how long a question about the kernel waits until what the kernel has is shown,
// which takes a moment, but for an owner among very many entries who is being suspended.
const patience = time.Second

// settled calls ask with a view that is what the kernel has before and after. Past its
// patience it takes what is shown: the kernel may then have more of the change under way.
func (c *Current) settled(ask func(*query.View) error) error {
	for late := time.After(patience); ; {
		shown := c.Load()
		moving := c.moving.Load()
		if moving == nil {
			err := ask(&shown.View)
			if c.moving.Load() == nil && c.Load().Generation == shown.Generation {
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
			return ask(&c.Load().View)
		}
	}
}
