package reconcile

// This file is the gate at a glance, for who looks at it every second.

import (
	"cmp"
	"context"
	"os"
	"slices"
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
	owners, err := shown.asked.Owners(shown.asked.Counts.Owners)
	if err != nil {
		return api.Live{}, err
	}
	l := api.Live{
		Time: now, Host: host, Status: e.statusOf(shown, repair.Inspect(e.view.gate, netdev.Interfaces{})), Owners: e.withMisses(owners.Owners),
		Talkers: e.observer.sketch.Snapshot(now, rows), EventsLost: e.observer.log.Lost(),
	}
	l.Counters, err = query.Counters(shown.asked.Gate)
	return l, err
}

// withMisses adds what each of owners missed, and whoever else did: entries without an
// owner, and owners that are gone.
func (e *Engine) withMisses(owners []api.Owner) []api.Owner {
	misses := e.nearMisses()
	all := slices.Clone(owners)
	for i := range all {
		all[i].NearMisses = misses[all[i].Owner]
		delete(misses, all[i].Owner)
	}
	for name, n := range misses {
		all = append(all, api.Owner{Owner: name, Dropped: map[string]uint64{}, NearMisses: n})
	}
	slices.SortFunc(all, func(a, b api.Owner) int { return cmp.Compare(a.Owner, b.Owner) })
	return all
}

// nearMisses is how many dropped openings there were beside the prefixes of each owner,
// "" for none. They never go back.
func (e *Engine) nearMisses() map[string]uint64 {
	misses := e.observer.sketch.NearMisses()
	for name, n := range e.observer.misses {
		misses[name] += n
	}
	return misses
}

// Events calls fn for the last n events, the oldest first, and with follow for those to
// come, until ctx ends or fn fails.
func (e *Engine) Events(ctx context.Context, n int, follow bool, fn func(events.Event) error) error {
	if follow {
		return e.observer.log.Follow(ctx, n, fn)
	}
	for _, event := range e.observer.log.Last(n) {
		if err := fn(event); err != nil {
			return err
		}
	}
	return nil
}
