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
	for family := range t.families {
		slot := &t.families[family]
		slot.prefilter = described(&t.live, family)
		m, err := t.adoptInner(t.allow[family], outerNames[family])
		if err != nil {
			return err
		}
		slot.trie = trie{m, family == 0}
		if slot.prefilter.CoarseBits == 0 {
			continue
		}
		if slot.fine, err = t.adoptInner(t.fine[family], fineNames[family]); err != nil {
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
		t.needsPublish = true
		return nil, nil
	}
	pinned, err := mapID(m)
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.needsPublish = t.needsPublish || pinned != id
	return m, nil
}
