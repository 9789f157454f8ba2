package source

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Promise: a page is looked at every so often, ten percent more or less; after a failure soon,
// then ever later, but no later than that; never while the server asks us to stay away, up
// to an hour; and at once when somebody asks.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		kicks := make(chan struct{}, 1)
		type step struct {
			after  time.Duration
			failed bool
		}
		steps := []step{{0, false}, {0, true}, {0, true}, {0, true}, {0, true}, {0, true}, {0, true}, {0, true}, {0, false}, {10 * time.Minute, true}, {24 * time.Hour, true}, {0, false}}
		wants := []time.Duration{5 * time.Minute, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute, 10 * time.Minute, time.Hour}
		var at []time.Time
		var looks atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			poll(ctx, 5*time.Minute, kicks, func(_ context.Context, kicked bool) (time.Duration, bool) {
				at = append(at, time.Now())
				defer looks.Add(1)
				if kicked != (len(at) == len(steps)+1) {
					t.Errorf("look %d: kicked %v", len(at), kicked)
				}
				if len(at) > len(steps) {
					return 0, false
				}
				s := steps[len(at)-1]
				return s.after, s.failed
			})
		}()
		for range 6000 { // until all but the last waits are over
			if synctest.Wait(); int(looks.Load()) == len(steps) {
				break
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		kick(kicks)
		synctest.Wait()
		cancel()
		<-done
		if len(at) != len(steps)+1 {
			t.Fatalf("%d looks", len(at))
		}
		for i, want := range wants {
			got := at[i+1].Sub(at[i])
			least := want - want/10
			if steps[i].after > 0 {
				least = want
			}
			if got < least || got > want+want/10 {
				t.Errorf("after look %d: %v, want %v", i, got, want)
			}
		}
		if got := at[len(steps)].Sub(at[len(steps)-1]); got > 2*time.Second {
			t.Errorf("a kick takes %v", got)
		}
	})
}
