package netdev

// This file tells when interfaces or addresses change.

import (
	"context"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Change is what has happened since the last receive from the channel of [Watch].
type Change struct {
	// The indexes of interfaces that went up or down or got another MTU: their drivers have
	// set up their queues again.
	SetUp map[int]bool
}

// Watch sends on the channel when interfaces or addresses have changed, until ctx ends.
// Changes that come before the receiver takes the last one are joined into one. It watches the
// network namespace of the calling thread, and has begun when it returns. The kernel can lose
// events, so the receiver must also look from time to time.
func Watch(ctx context.Context) <-chan Change {
	w := &watcher{changed: make(chan Change, 1), setups: map[int]setup{}}
	follow := w.subscribe(ctx)
	go func() {
		for ctx.Err() == nil {
			follow()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
				follow = w.subscribe(ctx)
			}
		}
	}()
	return w.changed
}

// watcher is the only sender on its channel.
type watcher struct {
	changed chan Change
	setups  map[int]setup // by index, as the kernel reported last
}

// setup is what makes a driver set up its queues again when it changes.
type setup struct {
	up  bool
	mtu int
}

// subscribe begins to listen, and returns a function that reads what the kernel reports until
// the subscription fails or ends.
func (w *watcher) subscribe(ctx context.Context) (follow func()) {
	ctx, cancel := context.WithCancel(ctx)
	updates, addresses := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{
		ErrorCallback: func(error) { cancel() }, ListExisting: true, // to know what changes
	})
	if err == nil {
		err = netlink.AddrSubscribeWithOptions(addresses, ctx.Done(), netlink.AddrSubscribeOptions{
			ErrorCallback: func(error) { cancel() },
		})
	}
	return func() {
		defer cancel()
		for err == nil {
			select {
			case update, open := <-updates:
				if !open {
					return
				}
				w.send(w.compare(update))
			case _, open := <-addresses:
				if !open {
					return
				}
				w.send(Change{})
			}
		}
	}
}

// compare returns how an interface differs from what the kernel reported of it before.
func (w *watcher) compare(update netlink.LinkUpdate) (change Change) {
	attrs := update.Attrs()
	before, known := w.setups[attrs.Index]
	if update.Header.Type == unix.RTM_DELLINK {
		delete(w.setups, attrs.Index)
		return change
	}
	now := setup{up: attrs.Flags&net.FlagUp != 0, mtu: attrs.MTU}
	w.setups[attrs.Index] = now
	if known && before != now {
		change.SetUp = map[int]bool{attrs.Index: true}
	}
	return change
}

// send joins change to what was not received yet. It never blocks: nobody else sends.
func (w *watcher) send(change Change) {
	select {
	case earlier := <-w.changed:
		for index := range earlier.SetUp {
			if change.SetUp == nil {
				change.SetUp = earlier.SetUp
			}
			change.SetUp[index] = true
		}
	default:
	}
	w.changed <- change
}
