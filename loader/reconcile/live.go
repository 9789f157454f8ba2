package reconcile

// This file is the gate at a glance, for who looks at it every second.

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
)

// patience is how long Live waits for an engine that is busy. A screen that is a second
// old is better than one that stands still while a million entries are published.
const patience = 200 * time.Millisecond

// Live implements the question, with so many talkers. It does not wait for a change that
// is under way: the status is then that before it.
func (e *Engine) Live(_ context.Context, rows int) (Live, error) {
	host, err := os.Hostname()
	if err != nil {
		return Live{}, err
	}
	now := time.Now().UTC()
	seen, err := e.see()
	if err != nil {
		return Live{}, err
	}
	l := Live{
		Time: now, Host: host, Status: seen.status, Owners: e.withMisses(seen.owners),
		Talkers: e.lookout.sketch.Snapshot(now, rows), EventsLost: e.lookout.log.Lost(),
	}
	l.Counters, err = query.Counters(e.view.gate)
	return l, err
}

// see looks at the gate, or remembers it while the engine is busy.
func (e *Engine) see() (*seen, error) {
	for deadline := time.Now().Add(patience); !e.mu.TryLock(); time.Sleep(5 * time.Millisecond) {
		if last := e.lookout.seen.Load(); last != nil && time.Now().After(deadline) {
			return last, nil
		}
	}
	defer e.mu.Unlock()
	owners, err := e.view.query().Owners(e.view.Counts.Owners)
	now := &seen{e.status(repair.Inspect(e.view.gate, netdev.Interfaces{})), owners.Owners}
	e.lookout.seen.Store(now)
	return now, err
}

// withMisses adds what each of owners missed, and whoever else did: entries without an
// owner, and owners that are gone.
func (e *Engine) withMisses(owners []Owner) []Owner {
	misses := e.nearMisses()
	all := slices.Clone(owners)
	for i := range all {
		all[i].NearMisses = misses[all[i].Owner]
		delete(misses, all[i].Owner)
	}
	for name, n := range misses {
		all = append(all, Owner{Owner: name, Dropped: map[string]uint64{}, NearMisses: n})
	}
	slices.SortFunc(all, func(a, b Owner) int { return cmp.Compare(a.Owner, b.Owner) })
	return all
}

// nearMisses is how many dropped openings there were beside the prefixes of each owner,
// "" for none. They never go back.
func (e *Engine) nearMisses() map[string]uint64 {
	misses := e.lookout.sketch.NearMisses()
	for name, n := range e.lookout.misses {
		misses[name] += n
	}
	return misses
}

// Events calls fn for the last n events, the oldest first, and with follow for those to
// come, until ctx ends or fn fails.
func (e *Engine) Events(ctx context.Context, n int, follow bool, fn func(events.Event) error) error {
	if follow {
		return e.lookout.log.Follow(ctx, n, fn)
	}
	for _, event := range e.lookout.log.Last(n) {
		if err := fn(event); err != nil {
			return err
		}
	}
	return nil
}
