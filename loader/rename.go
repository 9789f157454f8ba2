package loader

// This file follows interfaces that are renamed, because pins and attachments go by name.

import (
	"fmt"

	"github.com/cilium/ebpf/link"

	"github.com/xdpallow/xdpallow/loader/pins"
)

// FollowRenames gives the pins and attachments of renamed interfaces their new names; otherwise
// the interface would look as if it were gone. Returns the new names by the old ones.
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
	if err := g.pins.Rename(renamed); err != nil {
		return nil, err
	}
	if len(renamed) > 0 {
		g.rename(renamed)
	}
	return renamed, nil
}

// rename moves attachments to their new names. An attachment that has such a name until now has
// lost its interface, or it would have been renamed too, and is closed.
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

// deviceName returns the name that the interface of a pinned link has now, "" when it is gone or
// in another network namespace.
func (g *Gate) deviceName(name string) (string, error) {
	g.mu.Lock()
	held := g.attached[name]
	g.mu.Unlock()
	if held != nil {
		return nameOf(name, held.link)
	}
	pinned, err := link.LoadPinnedLink(g.pins.Link(name), nil)
	if err != nil {
		return "", fmt.Errorf("%s: load pinned link: %w", name, pins.Explain(g.pins.Link(name), err))
	}
	defer pinned.Close()
	return nameOf(name, pinned)
}

func nameOf(name string, l link.Link) (string, error) {
	device, _, err := deviceOf(l)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if device == nil {
		return "", nil
	}
	return device.Attrs().Name, nil
}
