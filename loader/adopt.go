package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// adopt gives our pinned link the program of this binary. The swap is atomic: each
// packet meets the old program or the new one. To detach and attach instead would
// let a quarter of a flood through. The result is not Adopted when there is no
// link, or one that has lost its interface and is cleared away.
func (g *Gate) adopt(name string, mode Mode) (at Attachment, err error) {
	pinned, err := link.LoadPinnedLink(g.link(name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return Attachment{}, nil
	}
	if err != nil {
		return Attachment{}, fmt.Errorf("%s: load pinned link: %w", name, unloaded(g.link(name), err))
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
		return Attachment{}, remove(g.link(name))
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
	for _, path := range g.pinnedPrograms(name) {
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

// pinnedPrograms are the places where a program of name may be pinned: this schema,
// then the others.
func (g *Gate) pinnedPrograms(name string) []string {
	paths := []string{g.schema("programs", escape(name))}
	for _, dir := range g.others() {
		paths = append(paths, filepath.Join(dir, "programs", escape(name)))
	}
	return paths
}

// others are the directories of other schemas.
func (g *Gate) others() []string {
	files, err := os.ReadDir(g.root)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, f := range files {
		if name := f.Name(); isSchema(name) && name != Schema {
			dirs = append(dirs, filepath.Join(g.root, name))
		}
	}
	return dirs
}

// isSchema reports whether a file of the root is the directory of a schema.
func isSchema(name string) bool { return strings.HasPrefix(name, "v") }

// Retire ends the other schemas, after every link runs a program of this one: it
// waits until their last packet is counted, takes their counters over, and removes
// them. Idempotent: a crash half way is finished by the next start, of this schema
// or of another.
func (g *Gate) Retire() error {
	others := g.others()
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

// inherit moves every counter map of dir to ours. Nothing is added up: a map is in
// one place at any moment, so that a crash neither loses a count nor doubles it,
// whichever schema goes on.
func (g *Gate) inherit(dir string) error {
	for _, kind := range []string{"counters", "earlier"} {
		files, err := names(filepath.Join(dir, kind))
		if err != nil {
			return err
		}
		for _, file := range files {
			name, _, _ := strings.Cut(file, separator)
			if err := os.Rename(filepath.Join(dir, kind, escape(file)), g.freeEarlier(name)); err != nil {
				return err
			}
		}
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
