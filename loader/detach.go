package loader

// This file opens the gate: it takes programs off, and removes their pins.

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf/link"

	"github.com/xdpallow/xdpallow/loader/lock"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Detach opens the gate on one interface at once and removes its pins; its counters end. Other
// interfaces stay guarded.
func (g *Gate) Detach(name string) error {
	// The XDP programs must know before the backstop goes: from then on nobody else judges what
	// a tunnel carries. Who detaches without a daemon has no tables, and takes every program off.
	if name == backstop && g.Tables != nil {
		if err := g.Tables.SetBackstop(false); err != nil {
			return fmt.Errorf("backstop: %w", err)
		}
	}
	if err := detach(g.pins.Link(name)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	g.mu.Lock()
	if a := g.attached[name]; a != nil {
		a.close()
		delete(g.attached, name)
	}
	g.mu.Unlock()
	var errs []error
	for _, kind := range []string{"programs", "twins", "counters", "reasons"} {
		errs = append(errs, pins.Remove(g.pins.At(kind, name)))
	}
	earlier, err := g.pins.Earlier(name)
	errs = append(errs, err)
	for _, path := range earlier {
		errs = append(errs, pins.Remove(path))
	}
	return errors.Join(errs...)
}

// detach takes the program off and then removes the pin. To remove only the pin would let the
// kernel end the link at some later time.
func detach(path string) error {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load pinned link: %w", pins.Explain(path, err))
	}
	defer l.Close()
	// A link whose interface was deleted has nothing to detach.
	if err := l.Detach(); err != nil && !errors.Is(err, link.ErrNotSupported) && !errors.Is(err, os.ErrNotExist) {
		info, infoErr := l.Info()
		if infoErr != nil || info.XDP() == nil || info.XDP().Ifindex != 0 {
			return err
		}
	}
	return pins.Remove(path)
}

// Remove removes every pin under the root. It refuses while an interface has a pinned link.
func (g *Gate) Remove() error {
	linked, err := g.Linked()
	if err != nil {
		return err
	}
	if len(linked) > 0 {
		return fmt.Errorf("remove pins: %v are still attached", linked)
	}
	return g.pins.RemoveAll()
}

// DetachRoot opens the gate under root without a daemon, on the named interfaces or on all when
// none is named. It returns the names of those that were detached and of those that are still
// guarded. With none left it removes the backstop and all pins. Returns *lock.HeldError
// while a daemon is the owner, ErrNoPins when there is no gate, and *NamespaceError when the
// gate is of another network namespace.
func DetachRoot(root string, names []string) (detached, left []string, err error) {
	held, err := lock.Take(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w under %s", ErrNoPins, root)
	}
	if err != nil {
		return nil, nil, err
	}
	defer held.Close()
	g := &Gate{pins: pins.Root(root), attached: map[string]*attachment{}}
	linked, err := g.Linked()
	if err != nil {
		return nil, nil, err
	}
	if len(linked) == 0 && !g.hasBackstop() {
		return nil, nil, fmt.Errorf("%w under %s", ErrNoPins, root)
	}
	if err := g.checkNamespace(); err != nil {
		return nil, nil, err
	}
	names, unguarded := netdev.GuardedBy(names, linked)
	if unguarded != "" {
		return nil, nil, fmt.Errorf("interface %s is not guarded", unguarded)
	}
	for _, name := range linked {
		if len(names) > 0 && !slices.Contains(names, name) {
			left = append(left, name)
			continue
		}
		if err := g.Detach(name); err != nil {
			return detached, left, err
		}
		detached = append(detached, name)
	}
	if len(left) == 0 {
		if err := g.DetachBackstop(); err != nil {
			return detached, left, err
		}
		return detached, left, g.Remove()
	}
	return detached, left, nil
}
