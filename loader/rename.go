package loader

// This file follows interfaces that are renamed: pins and whatever is held go by name.

import (
	"fmt"

	"github.com/cilium/ebpf/link"

	"github.com/xdpallow/xdpallow/loader/pins"
)

// FollowRenames gives what is held and pinned of an interface that was renamed its new
// name, so that it is not taken for one that is gone. Returns the new names by the old ones.
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
	pinned, err := link.LoadPinnedLink(g.pins.Link(name), nil)
	if err != nil {
		return "", fmt.Errorf("%s: load pinned link: %w", name, pins.Explain(g.pins.Link(name), err))
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
