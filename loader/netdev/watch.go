package netdev

// This file tells when interfaces or their addresses change.

import (
	"context"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Change is what has happened since the last receive.
type Change struct {
	// Indexes of interfaces that went up or down or got another MTU: their drivers have
	// set up their queues anew.
	SetUp map[int]bool
}

// Watch sends on the channel after interfaces or their addresses have changed, at most
// once for what came since the last receive, until ctx ends. It begins before it returns,
// in the network namespace of the calling thread. Events can be lost, so whoever watches
// also looks from time to time.
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

// watcher is the one sender on its channel.
type watcher struct {
	changed chan Change
	setups  map[int]setup // by index, as the kernel told last
}

// setup is what a driver sets up its queues by.
type setup struct {
	up  bool
	mtu int
}

// subscribe returns a function that follows what the kernel tells until it breaks off.
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
				w.send(w.look(update))
			case _, open := <-addresses:
				if !open {
					return
				}
				w.send(Change{})
			}
		}
	}
}

// look compares what the kernel tells of an interface with what it told before.
func (w *watcher) look(update netlink.LinkUpdate) (change Change) {
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

// send joins change to what was not received yet.
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
