package loader

// This file puts back what somebody else took from an attachment that we hold. Our
// handles keep programs and links alive without their pins, and the next daemon finds
// only what is pinned.

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Relink makes the link of name run our program again, in place of another's, and on all
// queues: by updates, so that no packet meets neither. The first is to a copy, for to the
// kernel an update to the program that is there is nothing to do.
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
	queues := netdev.VethQueues(name) // before: what comes meanwhile is late
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

// Repinned says what Repin had to put back.
type Repinned struct{ Links, Programs, Counters []string }

// Repin pins again what is no longer pinned of what is attached, or is pinned under its
// name and is something else.
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
			{&r.Programs, g.pins.At("twins", name), a.twin},
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
