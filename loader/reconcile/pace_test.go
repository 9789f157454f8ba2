// This file holds lists that are kept elsewhere to leaving the engine to others: they wait between
// changes, nobody waits for them, what others change meanwhile counts, and their silence is told.
package reconcile_test

import (
	"context"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
	"github.com/xdpallow/xdpallow/loader/source"
)

// Promise: after a change a list waits five times as long as the change took, at least 200 ms and at
// most a minute, while others may change what they like. What changes nothing waits for nothing.
func TestPace(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: 200 * time.Millisecond, 40 * time.Millisecond: 200 * time.Millisecond,
		2 * time.Second: 10 * time.Second, time.Hour: time.Minute,
	} {
		if got := reconcile.Pace(took); got != want {
			t.Errorf("after %v a list waits %v, want %v", took, got, want)
		}
	}
	f := newFollower(t)
	f.open()
	var waited []time.Duration
	paced := func(r source.Reading) (took time.Duration) {
		t.Helper()
		start := time.Now()
		if err := f.engine.TakePaced(r, func(long time.Duration) {
			took = time.Since(start)
			waited = append(waited, long)
			f.engine.Have(partner) // hangs if the engine is held meanwhile
		}); err != nil {
			t.Fatal(err)
		}
		return took
	}
	const slow = 100 * time.Millisecond
	release := f.engine.Hold()
	time.AfterFunc(slow, release)
	took := paced(reading(partner, "first", "203.0.113.0/24"))
	if len(waited) != 1 || waited[0] < 5*slow || waited[0] > 5*took {
		t.Errorf("after a change of %v to %v it waits %v", slow, took, waited)
	}
	paced(reading(partner, "the same", "203.0.113.0/24"))
	paced(source.Reading{Origin: partner, Err: context.DeadlineExceeded})
	if len(waited) != 1 {
		t.Errorf("what changes nothing waits: %v", waited)
	}
	f.expect("paced", map[string]string{"203.0.113.7": "pass", "198.51.100.7": "drop"})
	f.close()
}

// Promise: a reading that was compared with a list that has changed since is compared again: the gate
// has what the reading says, no more and no less.
func TestListThatChangedMeanwhile(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(branch, "first", "100.64.0.1/32")) // so that reload may forget the other one
	f.take(reading(partner, "first", "203.0.113.0/24"))
	if err := f.engine.TakeLate(reading(partner, "second", "203.0.113.0/24", "192.0.2.0/24"), func() {
		f.config(branch)
		f.reload(api.ReloadRequest{}) // forgets what the reading was compared with
		f.config(partner, branch)
		f.reload(api.ReloadRequest{})
	}); err != nil {
		t.Fatal(err)
	}
	f.expect("forgotten meanwhile", map[string]string{"203.0.113.7": "pass", "192.0.2.7": "pass", "198.51.100.7": "drop"})
	if err := f.engine.TakeLate(reading(partner, "third", "203.0.113.0/24", "192.0.2.0/24"), func() {
		f.take(reading(partner, "between", "203.0.113.0/24", "192.0.2.0/24", "198.51.100.0/24"))
	}); err != nil {
		t.Fatal(err)
	}
	f.expect("grown meanwhile", map[string]string{"203.0.113.7": "pass", "192.0.2.7": "pass", "198.51.100.7": "drop"})
	f.close()
}

// hanging is a list whose server answers when it is let, and then with what it says.
type hanging struct {
	asked, kicked, answer chan struct{}
	taken                 chan error
	says                  source.Reading
}

func (h hanging) Origin() policy.Origin { return h.says.Origin }
func (h hanging) Kick()                 { h.kicked <- struct{}{} }

func (h hanging) Follow(ctx context.Context, _ source.Have, take func(context.Context, source.Reading) error) {
	close(h.asked)
	select {
	case <-h.answer:
		h.taken <- take(ctx, h.says)
	case <-ctx.Done():
	}
}

// Promise: reload has lists looked at again, and never waits for them: it returns though a server
// hangs, and the reading comes later.
func TestReloadWaitsForNoList(t *testing.T) {
	f := newFollower(t)
	server := hanging{
		asked: make(chan struct{}), kicked: make(chan struct{}, 9), answer: make(chan struct{}), taken: make(chan error, 1),
		says: reading(partner, "late", "203.0.113.0/24"),
	}
	f.options.Follower = func(s source.Settings) source.Follower {
		if s.Origin() == partner {
			return server
		}
		return nil
	}
	f.open()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.lab.Host.Do(func() error { f.engine.Run(ctx); return nil })
	}()
	<-server.asked
	f.reload(api.ReloadRequest{})
	<-server.kicked
	f.expect("while the server hangs", map[string]string{"203.0.113.7": "drop"})
	close(server.answer)
	if err := <-server.taken; err != nil {
		t.Error(err)
	}
	f.expect("after its answer", map[string]string{"203.0.113.7": "pass", "198.51.100.7": "drop"})
	stop()
	<-ended
	f.close()
}

// Promise: a list out of reach for over 15 minutes is a problem, and no sooner; what it said last is
// enforced all the while, and one answer ends it.
func TestListOutOfReachIsStale(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "first", "203.0.113.0/24"))
	pass := func(by time.Duration) {
		reconcile.StepClock(by)
		t.Cleanup(func() { reconcile.StepClock(-by) })
		f.must(nil, f.lab.Host.Do(func() error { f.engine.FollowClock(); return nil }))
	}
	pass(14 * time.Minute)
	f.quiet("after 14 minutes")
	pass(2 * time.Minute)
	f.told("origin_stale", partner, "out of reach for 16m")
	f.expect("stale", map[string]string{"203.0.113.7": "pass", "198.51.100.7": "drop"})
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.quiet("after an answer")
	f.close()
}
