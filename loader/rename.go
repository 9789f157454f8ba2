package loader

// This file follows interfaces that are renamed: pins and whatever is held go by name.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/link"
)

// FollowRenames gives what is held and pinned of an interface that was renamed its new
// name, so that it is not taken for one that is gone. Two may have swapped names: all are
// set aside before any is put back. Returns the new names by the old ones.
func (g *Gate) FollowRenames() (renamed map[string]string, err error) {
	linked, err := g.Linked()
	if err != nil {
		return nil, err
	}
	renamed = map[string]string{}
	for _, name := range linked {
		now, err := g.deviceName(name)
		if err != nil {
			return nil, err
		}
		if now != "" && now != name {
			renamed[name] = now
		}
	}
	const aside = "~renamed-"
	for name, now := range renamed {
		if err := g.movePins(escape(name), aside+escape(now)); err != nil {
			return nil, err
		}
	}
	for _, now := range renamed {
		if err := g.movePins(aside+escape(now), escape(now)); err != nil {
			return nil, err
		}
	}
	if len(renamed) > 0 {
		g.rename(renamed)
	}
	return renamed, nil
}

// rename makes what is held known by its new names. What was held by such a name until
// now is gone, or it would have been renamed, too.
func (g *Gate) rename(renamed map[string]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := map[string]*attachment{}
	for name, now := range renamed {
		if a := g.attached[name]; a != nil {
			held[now] = a
			delete(g.attached, name)
		}
	}
	for now, a := range held {
		if gone := g.attached[now]; gone != nil {
			gone.close()
		}
		g.attached[now] = a
	}
}

// deviceName is the name that the interface of a pinned link has now, "" when it is
// gone, or in another namespace.
func (g *Gate) deviceName(name string) (string, error) {
	g.mu.Lock()
	held := g.attached[name]
	g.mu.Unlock()
	if held != nil {
		return nameOf(name, held.link)
	}
	pinned, err := link.LoadPinnedLink(g.link(name), nil)
	if err != nil {
		return "", fmt.Errorf("%s: load pinned link: %w", name, unloaded(g.link(name), err))
	}
	defer pinned.Close()
	return nameOf(name, pinned)
}

func nameOf(name string, l link.Link) (string, error) {
	device, _, err := carrier(l)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if device == nil {
		return "", nil
	}
	return device.Attrs().Name, nil
}

// movePins renames what is pinned for an interface, in every schema. The link goes
// last: without it, the rest is only clutter.
func (g *Gate) movePins(from, to string) error {
	for _, dir := range append(g.others(), g.schema()) {
		for _, kind := range []string{"counters", "programs", "twins", "reasons"} {
			err := os.Rename(filepath.Join(dir, kind, from), filepath.Join(dir, kind, to))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("rename pins: %w", err)
			}
		}
	}
	links := filepath.Join(g.root, "links")
	if err := os.Rename(filepath.Join(links, from), filepath.Join(links, to)); err != nil {
		return fmt.Errorf("rename pins: %w", err)
	}
	return nil
}
