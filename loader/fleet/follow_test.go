package fleet

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/fleet/fleettest"
	"github.com/xdpallow/xdpallow/loader/fleet/layout/layouttest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: what an operator writes is on every host at once, whether it came before the host did,
// while it followed, or while it was away; a host that was away fetches nothing that it holds.
func TestHostsFollow(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 1)
	all := layouttest.Many(10_000)
	first := set(t, operator, all)
	s := settings(c, "web1")
	h := follows(t, s, "web1")
	h.has(first.Serial, all)

	all = append(layouttest.Claims(t, "1.0.0.0/30 owner=acme"), all[2:]...)
	second := set(t, operator, all)
	if second.Delta == nil || len(second.Delta.Lines) != 3 {
		t.Errorf("the delta of three lines is %+v", second.Delta)
	}
	h.has(second.Serial, all)
	h.stop()

	all = append(layouttest.Claims(t, "1.0.0.0/30 owner=globex"), all[3000:]...) // more than stands in a manifest
	third := set(t, operator, all)
	if third.Delta != nil {
		t.Error("3,000 lines stand in the manifest")
	}
	h.start(s, "web1")
	h.has(third.Serial, all)
	h.stop()
	if _, err := operator.etcd.Delete(t.Context(), operator.key("chunk", Main, ""), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.have.At = time.Time{}
	h.mu.Unlock()
	h.start(s, "web1") // and has all that it needs, though etcd has not
	h.until("a look", func() bool { return !h.have.At.IsZero() && h.err == nil })
	if h.have.Mark != third.Mark() {
		t.Errorf("a restart has serial %s", h.have.Mark)
	}
	if h.wholes != 1 {
		t.Errorf("read everything %d times, want once", h.wholes)
	}
	if why := h.why[len(h.why)-1]; why != "serial 3: fleet replace list (alice@bastion: OPS-1)" {
		t.Errorf("history says %q", why)
	}
}

// crowd starts n hosts, each with a connection of its own, and waits until all have all.
func crowd(t testing.TB, c *fleettest.Cluster, n int, serial uint64, all []policy.Claim) (hosts []*host) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("web%d-%d", n, i)
		hosts = append(hosts, follows(t, settings(c, name), name))
	}
	for _, h := range hosts {
		h.until("the first list", func() bool { return h.have.Mark == strconv.FormatUint(serial, 10) && len(h.claims) == len(all) })
	}
	return hosts
}

// converge writes all, and returns how long it took until the last of hosts had it.
func converge(t testing.TB, operator *Client, hosts []*host, all []policy.Claim) time.Duration {
	t.Helper()
	var done sync.WaitGroup
	begin := time.Now()
	m := set(t, operator, all)
	for _, h := range hosts {
		done.Go(func() { h.until(m.Mark(), func() bool { return h.have.Mark == m.Mark() }) })
	}
	done.Wait()
	return time.Since(begin)
}

// Promise: one change is with the last of many hosts soon after it is with the first: they hear of
// it together, and what stands in the manifest nobody fetches.
func TestManyHostsConverge(t *testing.T) {
	const n = 200
	c, operator := cluster(t, 1)
	all := layouttest.Many(1000)
	set(t, operator, all)
	one := crowd(t, c, 1, 1, all)
	alone := time.Duration(0)
	for i := range 5 {
		alone = max(alone, converge(t, operator, one, all[i+1:])) // the same noise is in the slowest of many
	}
	hosts := crowd(t, c, n, 6, all[5:])
	together := converge(t, operator, hosts, all[6:])
	for i := range 4 { // the best, as other tests run beside
		together = min(together, converge(t, operator, hosts, all[i+7:]))
	}
	t.Logf("one host %v, %d hosts %v", alone, n, together)
	if together > n/2*alone {
		t.Errorf("%d hosts take %v and one takes %v: they do not hear of it together", n, together, alone)
	}
	for _, h := range hosts {
		h.mu.Lock()
		if h.wholes != 1 || len(h.why) != 6 || h.why[5] != "serial 11: fleet replace list (alice@bastion: OPS-1)" {
			t.Errorf("a host took over %q, %d times everything", h.why, h.wholes)
		}
		h.mu.Unlock()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		told, err := operator.Hosts(t.Context(), Main)
		have := 0
		for _, h := range told {
			if h.Serial == 11 {
				have++
			}
		}
		if err == nil && have == n+1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d statuses have it, %v", have, err)
		}
	}
}
