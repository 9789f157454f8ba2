package maps

// This file compares the kernel with what we put there, for the day somebody else
// writes to our maps, and puts it back in place where that is at once.

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps/bloom"
)

// SameCurrent reports whether the programs go by the slot and the generation that we
// made live, by the sizes of the prefilter in both slots, and by what we said of the
// backstop. It may be called beside a writer.
func (t *Tables) SameCurrent() (bool, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var live bpf.XdpallowCurrent
	if err := t.current.Lookup(uint32(0), &live); err != nil {
		return false, fmt.Errorf("read current: %w", err)
	}
	return live.Slot == t.live.Slot && live.Generation == t.live.Generation && live.Prefilter == t.live.Prefilter &&
		live.Backstop == t.live.Backstop, nil
}

// RestoreCurrent makes our slot the live one again. Programs may read the idle one for
// a moment longer, so the next publish waits for them.
func (t *Tables) RestoreCurrent() error {
	t.settled = false
	return t.setCurrent(t.live.Slot, t.live.Generation)
}

// RestorePolicy writes services and modes of p, which are those of the live slot, in
// their place. A publish would leave a gate open that long.
func (t *Tables) RestorePolicy(p Policy) error {
	value, err := p.value()
	if err != nil {
		return err
	}
	return t.putPolicy(t.live.Slot, value)
}

// RestoreMaps puts every map back where programs and the next daemon look for it: the
// live inner maps into their outer ones, and all under their pins. It returns the names
// of those that were not there.
func (t *Tables) RestoreMaps() (restored []string, err error) {
	place := func(name string, err2 error, done bool) {
		err = errors.Join(err, err2)
		if done {
			restored = append(restored, name)
		}
	}
	for name, m := range t.Replacements() {
		name = pinName(name)
		done, err := t.restorePin(name, m)
		place(name, err, done)
	}
	if t.Stale() {
		return restored, err
	}
	for family, slot := range t.families {
		for _, inner := range []struct {
			name     string
			outer, m *ebpf.Map
		}{{outerNames[family], t.allow[family], slot.trie.m}, {fineNames[family], t.fine[family], slot.fine}} {
			if inner.m == nil {
				continue
			}
			done, err := t.restoreInner(inner.outer, inner.m)
			place(inner.name, err, done)
			name := innerName(inner.name, t.live.Slot)
			done, err = t.restorePin(name, inner.m)
			place(name, err, done)
		}
	}
	return restored, err
}

func (t *Tables) restoreInner(outer, inner *ebpf.Map) (bool, error) {
	want, err := mapID(inner)
	if err != nil {
		return false, err
	}
	var id uint32
	err = outer.Lookup(uint32(t.live.Slot), &id)
	if err == nil && id == want {
		return false, nil
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, fmt.Errorf("read an outer map: %w", err)
	}
	if err := outer.Put(uint32(t.live.Slot), inner); err != nil {
		return false, fmt.Errorf("put an inner map back: %w", err)
	}
	return true, nil
}

func (t *Tables) restorePin(name string, m *ebpf.Map) (bool, error) {
	want, err := mapID(m)
	if err != nil {
		return false, err
	}
	pinned, err := t.pins.Load(name)
	if err == nil {
		defer pinned.Close()
		if id, err := mapID(pinned); err == nil && id == want {
			return false, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return true, t.pins.Pin(name, m)
}

func mapID(m *ebpf.Map) (uint32, error) {
	info, err := m.Info()
	if err != nil {
		return 0, fmt.Errorf("read info of a map: %w", err)
	}
	id, found := info.ID()
	if !found {
		return 0, errors.New("the kernel does not tell the id of a map")
	}
	return uint32(id), nil
}

// Unfiltered returns those of prefixes, which are entries, that the live prefilter would
// drop unseen for want of a bit.
func (t *Tables) Unfiltered(prefixes []netip.Prefix) (lacking []netip.Prefix, err error) {
	if t.Stale() {
		return nil, nil
	}
	var coarse, fine [2]func(index uint32) bool
	fail := func(e error) { err = errors.Join(err, e) }
	for family, slot := range t.families {
		coarse[family] = bitsOf(t.coarse, coarseBlock(t.live.Slot, family), fail)
		fine[family] = bitsOf(slot.fine, 0, fail)
	}
	for _, p := range prefixes {
		family := familyOf(p)
		f := t.families[family].prefilter
		if f.CoarseBits == 0 {
			continue
		}
		whole := true
		f.Add(p, func(index uint32) { whole = whole && coarse[family](index) },
			func(index uint32) { whole = whole && fine[family](index) })
		if !whole {
			lacking = append(lacking, p)
		}
	}
	return lacking, err
}

// bitsOf reads a bitmap block by block, each once.
func bitsOf(m *ebpf.Map, first uint32, fail func(error)) func(index uint32) bool {
	blocks := map[uint32]*bloom.Block{}
	return func(index uint32) bool {
		at := index >> bloom.BlockBits
		b := blocks[at]
		if b == nil {
			b = new(bloom.Block)
			if err := m.Lookup(first+at, b); err != nil {
				fail(fmt.Errorf("read a block of the prefilter: %w", err))
			}
			blocks[at] = b
		}
		return b.Words[index>>6&7]>>(index&63)&1 != 0
	}
}
