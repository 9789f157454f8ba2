package netdev_test

import (
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: an interface that goes down or up, or gets another MTU, is told as set up anew,
// however little time there is between.
func TestWatchTellsWhatIsSetUpAnew(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var changed <-chan netdev.Change
	h.do(func() error { changed = netdev.Watch(t.Context()); return nil })
	index := labtest.Must(h.lab.Host.Index("eth0"))(t)
	told := func(what string, change func() error) {
		t.Helper()
		h.must(change())
		for {
			select {
			case c := <-changed:
				if c.SetUp[index] {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("in vain: %s is told", what)
			}
		}
	}
	told("down and up", func() error {
		if err := h.lab.Host.SetUp("eth0", false); err != nil {
			return err
		}
		return h.lab.Host.SetUp("eth0", true)
	})
	told("a new MTU", func() error { return labtest.SetMTU(h.lab.Host, "eth0", 1400) })
}
