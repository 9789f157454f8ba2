package loader

// This file takes over a gate that an earlier daemon left: its links go on without a gap, and
// the counters of other schemas are kept.

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/pins"
)

// adopt gives our pinned link the program of this binary. The kernel swaps them in one step:
// each packet is judged by the old program or by the new one. To detach and attach instead
// would let a quarter of a flood through. The result is not Adopted when there is no link; a
// link that has lost its interface is removed.
func (g *Gate) adopt(name string, mode Mode) (at Attachment, err error) {
	pinned, err := link.LoadPinnedLink(g.pins.Link(name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return Attachment{}, nil
	}
	if err != nil {
		return Attachment{}, fmt.Errorf("%s: load pinned link: %w", name, pins.Explain(g.pins.Link(name), err))
	}
	held := false
	defer func() {
		if !held {
			pinned.Close()
		}
	}()
	device, _, err := deviceOf(pinned)
	if err != nil {
		return Attachment{}, fmt.Errorf("%s: %w", name, err)
	}
	// An interface that was made again under the same name is another interface.
	if device == nil || device.Attrs().Name != name {
		return Attachment{}, pins.Remove(g.pins.Link(name))
	}
	if have := modeOf(device); mode != Auto && have != mode {
		return Attachment{}, &ModeError{Interface: name, Have: have, Want: mode}
	}
	made, err := g.programsFor(name)
	if err != nil {
		return Attachment{}, withName(name, err)
	}
	if err := g.swap(name, pinned, made.program); err != nil {
		made.close()
		return g.keep(name, notUpdated(name, err))
	}
	made.link, held = pinned, true
	if modeOf(device) == Generic {
		made.reason = g.pins.KeptReason(name)
	}
	g.hold(name, made)
	if err := g.pinPrograms(name, made); err != nil {
		return Attachment{}, err
	}
	at, err = g.Inspect(name)
	at.Adopted = true
	return at, err
}

// swap makes the link run program. It first names the programs that were pinned with the link
// as what is to be replaced, so that it does not race with another process that updates the
// link. A link that runs none of them was changed by somebody else, and is set right.
func (g *Gate) swap(name string, pinned link.Link, program *ebpf.Program) error {
	updater, ok := pinned.(interface {
		UpdateArgs(link.RawLinkUpdateOptions) error
	})
	for _, path := range g.pins.Programs(name) {
		old, err := ebpf.LoadPinnedProgram(path, nil)
		if err != nil || !ok {
			continue
		}
		err = updater.UpdateArgs(link.RawLinkUpdateOptions{New: program, Old: old, Flags: unix.BPF_F_REPLACE})
		old.Close()
		if err == nil {
			return nil
		}
	}
	return pinned.Update(program)
}

// Retire removes the pins of other schemas. The caller has made every link run a program of
// this one. It waits until the last packet of the old programs is counted, and takes their
// counters over. It can be repeated: the next start, of this schema or of another, finishes
// what a crash left half done.
func (g *Gate) Retire() error {
	others := g.pins.Others()
	if len(others) == 0 {
		return nil
	}
	if err := g.Tables.Barrier(); err != nil {
		return err
	}
	for _, dir := range others {
		if err := g.inherit(dir); err != nil {
			return fmt.Errorf("take over the counters of %s: %w", dir, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the pins of another schema: %w", err)
		}
	}
	return nil
}

// inherit takes over the counters of another schema, and adds them to those that are open.
func (g *Gate) inherit(dir string) error {
	if err := g.pins.TakeCounters(dir); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, a := range g.attached {
		earlier, err := g.openEarlier(name)
		if err != nil {
			return err
		}
		for _, m := range a.counters.Earlier {
			m.Close()
		}
		a.counters.Earlier = earlier
	}
	return nil
}
