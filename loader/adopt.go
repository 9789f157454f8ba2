package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/pins"
)

// adopt gives our pinned link the program of this binary. The swap is atomic: each
// packet meets the old program or the new one. To detach and attach instead would
// let a quarter of a flood through. The result is not Adopted when there is no
// link, or one that has lost its interface and is cleared away.
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
	device, _, err := carrier(pinned)
	if err != nil {
		return Attachment{}, fmt.Errorf("%s: %w", name, err)
	}
	// A new interface of the same name is another interface.
	if device == nil || device.Attrs().Name != name {
		return Attachment{}, pins.Remove(g.pins.Link(name))
	}
	if have := modeOf(device); mode != Auto && have != mode {
		return Attachment{}, &ModeError{Interface: name, Have: have, Want: mode}
	}
	made, err := g.make(name)
	if err != nil {
		return Attachment{}, named(name, err)
	}
	if err := g.swap(name, pinned, made.program); err != nil {
		made.close()
		return g.keep(name, notUpdated(name, err))
	}
	made.link, held = pinned, true
	if modeOf(device) == Generic {
		made.reason = g.keptReason(name)
	}
	g.hold(name, made)
	if err := g.pinPrograms(name, made); err != nil {
		return Attachment{}, err
	}
	at, err = g.Inspect(name)
	at.Adopted = true
	return at, err
}

// swap updates the link, expecting the program that was pinned with it, so that
// nobody else's change is undone unseen. A link that runs neither has been tampered
// with, and is ours to mend.
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

// Retire ends the other schemas, after every link runs a program of this one: it
// waits until their last packet is counted, takes their counters over, and removes
// them. Idempotent: a crash half way is finished by the next start, of this schema
// or of another.
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

// inherit takes over the counters of another schema.
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
