package reconcile

// This file is the gate at a glance, for who looks at it every second.

import (
	"context"
	"os"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
)

// Live returns what top shows, with so many talkers. While a change is made, the status is
// that before it.
func (e *Engine) Live(_ context.Context, rows int) (api.Live, error) {
	host, err := os.Hostname()
	if err != nil {
		return api.Live{}, err
	}
	now := time.Now().UTC()
	shown := e.shown.Load()
	owners, err := shown.asked.Owners(shown.asked.Counts.Owners())
	if err != nil {
		return api.Live{}, err
	}
	l := api.Live{
		Time: now, Host: host, Status: e.statusOf(shown, repair.Inspect(e.enforced.Gate, netdev.Interfaces{})), Owners: e.observer.WithMisses(owners.Owners),
		Talkers: e.observer.Talkers.Snapshot(now, rows), EventsLost: e.observer.Log.Lost(),
	}
	l.Counters, err = query.Counters(shown.asked.Gate)
	return l, err
}

// Events calls fn for the last n events, the oldest first, and with follow for those to
// come, until ctx ends or fn fails.
func (e *Engine) Events(ctx context.Context, n int, follow bool, fn func(events.Event) error) error {
	return e.observer.Events(ctx, n, follow, fn)
}
