package reconcile_test

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: whose an address is, is answered beside many publishes, as of the list before or of
// the list after; and a request that begins after a suspension was acknowledged is refused.
// The race detector sees what the two share.
func TestOwnershipBesidePublishes(t *testing.T) {
	g := newGate(t, 400)
	g.start()
	ctx := context.Background()
	network := api.SuspendRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	inside, outside, stranger := netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("12.55.121.177"), netip.MustParseAddr("9.9.9.9")
	publishes := 50
	if os.Getenv("XDPALLOW_CHANGES") != "" {
		publishes = labtest.Must(strconv.Atoi(os.Getenv("XDPALLOW_CHANGES")))(t)
	}
	var over atomic.Bool
	var asking sync.WaitGroup
	var answers atomic.Int64
	for range 3 {
		asking.Go(func() {
			for !over.Load() {
				time.Sleep(50 * time.Microsecond) // so that the questions leave room for the change
				o, found := g.engine.Ownership(inside, "api", "acme-0")
				if !found || o.Owner != "acme-0" || o.Reason != policy.ReasonSuspended && o.Reason != policy.ReasonListed {
					t.Errorf("%s is %+v, %v", inside, o, found)
					return
				}
				if o, _ := g.engine.Ownership(outside, "api", "globex"); o.Owner != "acme-1" || o.Reason != api.ReasonWrongOwner {
					t.Errorf("%s is %+v", outside, o)
					return
				}
				if o, _ := g.engine.Ownership(stranger, "api", ""); o != (api.Ownership{Reason: policy.ReasonNotListed}) {
					t.Errorf("%s is %+v", stranger, o)
					return
				}
				answers.Add(1)
			}
		})
	}
	generation := labtest.Must(g.engine.Snapshot(ctx))(t).Generation
	for n := range publishes {
		change, want := g.engine.Suspend, policy.ReasonSuspended
		if n%2 == 1 {
			change, want = g.engine.Resume, policy.ReasonListed
		}
		result, err := change(ctx, api.Caller{}, network)
		if err != nil || result.Generation <= generation {
			t.Errorf("change %d: generation %d after %d, %v", n, result.Generation, generation, err)
			break
		}
		generation = result.Generation
		if o, _ := g.engine.Ownership(inside, "api", ""); o.Reason != want {
			t.Errorf("after change %d was acknowledged %s is %s, want %s", n, inside, o.Reason, want)
		}
	}
	over.Store(true)
	asking.Wait()
	t.Logf("%d rounds of answers beside %d publishes", answers.Load(), publishes)
	if answers.Load() < int64(publishes) {
		t.Error("too few to show anything")
	}
}
