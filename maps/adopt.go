package maps

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// adopt takes over what the live slot has.
func (t *Tables) adopt() error {
	if t.live.Generation == 0 {
		return nil
	}
	for family := range t.halves {
		half := &t.halves[family]
		half.prefilter = described(&t.live, family)
		m, err := t.adoptInner(t.allow[family], outerNames[family])
		if err != nil {
			return err
		}
		half.trie = trie{m, family == 0}
		if half.prefilter.CoarseBits == 0 {
			continue
		}
		if half.fine, err = t.adoptInner(t.fine[family], fineNames[family]); err != nil {
			return err
		}
	}
	return nil
}

// adoptInner returns the live inner map of an outer one. With our capabilities it
// cannot be reached through that, only by its pin; a crash between pinning and
// putting leaves a pin that is another map, and the tables stale.
func (t *Tables) adoptInner(outer *ebpf.Map, name string) (*ebpf.Map, error) {
	var id uint32
	err := outer.Lookup(uint32(t.live.Slot), &id)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	m, err := t.pins.Load(innerName(name, t.live.Slot))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if m == nil {
		t.rebuilt = true
		return nil, nil
	}
	info, err := m.Info()
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("read info of %s: %w", name, err)
	}
	if pinned, _ := info.ID(); uint32(pinned) != id {
		t.rebuilt = true
	}
	return m, nil
}
