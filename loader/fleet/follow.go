// This file is a host's side: it follows one list of a fleet. Nothing of it is in the way of
// enforcing, and all of it may fail for ever.

package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// Intervals of a host. Tests have shorter ones.
type Intervals struct {
	Poll   time.Duration // between two looks beside the watch, ± 20 %
	Retry  time.Duration // after a failure, twice as long each time, ± 50 %
	Most   time.Duration // of Retry
	Spread time.Duration // over which hosts that fetch much wait by chance
	Within time.Duration // how long an answer may take
	Lease  time.Duration // after which a host that is silent has no status any more
}

var intervals = Intervals{
	Poll: time.Minute, Retry: time.Second, Most: time.Minute, Spread: 5 * time.Second,
	Within: answersWithin, Lease: time.Minute,
}

// goneTries is how often a list is read anew of which chunks are gone, goneAfter apart.
const (
	goneTries = 3
	goneAfter = 2 * time.Second
)

// follower follows one list.
type follower struct {
	settings source.Settings
	self     Self
	times    Intervals
	kicked   chan struct{}
	config   Config

	serial atomic.Uint64 // of have
	told   chan struct{} // it has changed

	have  *layout.Manifest // that was taken over last, or nil
	list  layout.List      // of have
	whole bool             // the next reading is all that there is
	fleet string           // identity of the fleet, or "" before the first contact

	seen    *layout.Manifest // the last one that was handed to take
	refused bool             // take refused it
}

func newFollower(s source.Settings, self Self, times Intervals) *follower {
	config := ConfigOf(s)
	config.Within = times.Within
	return &follower{
		settings: s, self: self, times: times, kicked: make(chan struct{}, 1), told: make(chan struct{}, 1),
		config: config,
	}
}

func (f *follower) Origin() policy.Origin { return f.settings.Origin() }

func (f *follower) Kick() { signal(f.kicked) }

// signal wakes who waits at c. One signal that waits already is enough.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take is what a reading is handed to.
type take = func(context.Context, source.Reading) error

// Follow is that of source.Follower.
func (f *follower) Follow(ctx context.Context, have source.Have, take take) {
	f.recall(have)
	for wait := f.times.Retry; ctx.Err() == nil; {
		began := time.Now()
		err := f.session(ctx, take)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			_ = take(ctx, source.Reading{Origin: f.Origin(), Err: err})
		}
		if time.Since(began) > f.times.Most {
			wait = f.times.Retry
		}
		select {
		case <-ctx.Done():
		case <-f.kicked:
			f.Kick() // for the session that comes now
			wait = f.times.Retry
		case <-time.After(around(wait, 0.5)):
		}
		wait = min(2*wait, f.times.Most)
	}
}

// around returns d, give or take share of it: a thousand hosts should not ask at once.
func around(d time.Duration, share float64) time.Duration {
	return d + time.Duration((rand.Float64()*2-1)*share*float64(d))
}

// recall is what an earlier daemon took over. Where its claims are not those of its manifest, they
// are fetched again.
func (f *follower) recall(have source.Have) {
	f.fleet, f.whole = have.Fleet, true
	if len(have.Manifest) == 0 {
		return
	}
	m, err := layout.Decode(string(f.Origin()), have.Manifest)
	if err != nil {
		return
	}
	f.have, f.fleet = m, m.Fleet
	f.serial.Store(m.Serial)
	list, err := layout.NewList(have.Claims, layout.List{Chunks: m.Chunks})
	f.list = list
	f.whole = err != nil || layout.SumOf(list.Chunks) != m.Sum
}

// session is one connection to etcd. It ends with ctx, or with why nothing is to be heard any
// more; nil is a watch that ended.
func (f *follower) session(ctx context.Context, take take) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := Dial(f.config)
	if err != nil {
		return err
	}
	defer client.Close()
	state, err := client.Read(ctx, f.settings.Etcd.List, false)
	if errors.Is(err, ErrUnreachable) {
		// A member without a quorum may have a list that is newer than ours, and the serial keeps
		// an old one out. Whether there is a newer one elsewhere is not known: it stays an error.
		if old, stale := client.Read(ctx, f.settings.Etcd.List, true); stale == nil && !f.knows(old) {
			f.hand(ctx, client, old, take)
		}
	}
	if err != nil {
		return err
	}
	f.hand(ctx, client, state, take)
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancel()
	telling.Go(func() { f.tell(ctx, client) })
	changes := client.Watch(ctx, f.settings.Etcd.List, state)
	poll := time.NewTimer(f.next())
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case after, open := <-changes:
			if !open {
				return nil
			}
			state = after
			f.hand(ctx, client, state, take)
			poll.Reset(f.next())
			continue
		case <-f.kicked:
			f.seen, f.refused = nil, false
		case <-poll.C:
		}
		// A watch hides a server that hangs, a role that was taken away, and a cluster that was
		// wiped, whose revisions are behind its own.
		after, err := client.Read(ctx, f.settings.Etcd.List, true)
		if err != nil {
			return err
		}
		if missed := after.List.Modified > state.List.Modified || after.Next.Modified > state.Next.Modified ||
			after.ID != state.ID || after.Revision < state.Revision; missed {
			f.hand(ctx, client, after, take)
			return nil
		}
		if after.List == state.List && after.Next == state.Next {
			f.hand(ctx, client, after, take) // else it is the answer of a member that lags
		}
		poll.Reset(f.next())
	}
}

// next is when to look beside the watch: soon where the last reading could not be taken over.
func (f *follower) next() time.Duration {
	if f.seen == nil {
		return around(min(5*f.times.Retry, f.times.Poll), 0.2)
	}
	return around(f.times.Poll, 0.2)
}

// knows reports whether state has nothing that is new here.
func (f *follower) knows(state State) bool {
	m, err := state.Choose(f.settings.Etcd.Group)
	return err != nil || f.have != nil && m.Serial <= f.have.Serial
}

// hand hands on what state says to take, or that nothing has changed.
func (f *follower) hand(ctx context.Context, client *Client, state State, take take) {
	for try := 1; ; try++ {
		err := f.takeOver(ctx, client, state, take)
		if err == nil || ctx.Err() != nil {
			return
		}
		if isGone(err) && try < goneTries && wait(ctx, goneAfter) {
			if newer, err := client.Read(ctx, f.settings.Etcd.List, false); err == nil {
				state = newer
			}
			continue
		}
		_ = take(ctx, source.Reading{Origin: f.Origin(), Err: trouble(err)})
		return
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return ctx.Err() == nil
}
