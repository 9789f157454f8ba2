package loader

// This file restores links and pins that another process changed. Our handles keep programs and
// links alive without their pins, but the next daemon finds only what is pinned.

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Relink makes the link of an interface run our program on all queues again. It updates the
// link, so that a program judges every packet meanwhile: first to a copy of our program, because
// the kernel does nothing when the link already has the program that it is given. Returns a
// *RefusedError when the driver refuses.
func (g *Gate) Relink(name string) error {
	a, err := g.attachment(name)
	if err != nil {
		return err
	}
	copied, err := g.loadProgram(programOf(name, a.ipFirst), a.counters.Live, constants{ipFirst: a.ipFirst})
	if err != nil {
		return err
	}
	defer copied.Close()
	queues := netdev.VethQueues(name) // before the update: a queue that is added meanwhile is late
	for _, program := range []*ebpf.Program{copied, a.program} {
		if err := a.link.Update(program); err != nil {
			return notUpdated(name, err)
		}
	}
	a.queues.Store(queues)
	return nil
}

// RelinkBackstop is Relink for the socket lookups.
func (g *Gate) RelinkBackstop() error { return g.Relink(backstop) }

// Repinned names the interfaces of which Repin had to pin something again.
type Repinned struct{ Links, Programs, Counters []string }

// Repin pins again every link, program and counter map of what is attached whose pin is gone or
// is something else.
func (g *Gate) Repin() (r Repinned, err error) {
	if err := g.pins.Ensure(); err != nil {
		return r, err
	}
	if err := g.pins.MakeDirectories(); err != nil {
		return r, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, a := range g.attached {
		for _, pinned := range []struct {
			restored *[]string
			path     string
			object   pins.Object
		}{
			{&r.Programs, g.pins.At("programs", name), a.program},
			{&r.Programs, g.pins.At("twins", name), a.shadow},
			{&r.Counters, g.pins.At("counters", name), a.counters.Live},
			{&r.Links, g.pins.Link(name), a.link}, // the last: see pinAll
		} {
			restored, oneErr := pins.Restore(pinned.path, pinned.object)
			if oneErr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, oneErr))
			} else if restored && !slices.Contains(*pinned.restored, name) {
				*pinned.restored = append(*pinned.restored, name)
			}
		}
	}
	return r, err
}
