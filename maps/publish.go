package maps

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps/bloom"
)

// Publish makes p the policy. The kernel judges every packet by the whole old
// policy or by the whole new one, never by a mixture: the idle slot is filled and
// read back, current is flipped, and only when no program can still be reading
// the old slot is it emptied.
//
// It returns the retired entries that were used, with their hits and last_seen:
// new tries start at 0. Call Release when they have been added up. On an error before the
// flip the old policy stands.
func (t *Tables) Publish(p Policy) (used []Entry, err error) {
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	if err := t.Release(); err != nil {
		return nil, err
	}
	entries := slices.Clone(p.Entries)
	for i := range entries {
		// The caller may hand back what Entries gave him: his count of these
		// is in used, and would be added a second time.
		entries[i].Hits, entries[i].LastSeen = 0, 0
	}
	sortEntries(entries)
	if err := checkEntries(entries); err != nil {
		return nil, err
	}
	// A daemon that died between flip and barrier left readers in our idle slot.
	if !t.settled {
		if err := t.Barrier(); err != nil {
			return nil, err
		}
	}

	idle := (t.live.Slot + 1) % slots
	split, _ := slices.BinarySearchFunc(entries, 1, func(e Entry, family int) int { return familyOf(e.Prefix) - family })
	var families [2]familySlot
	for family, part := range [][]Entry{entries[:split], entries[split:]} {
		if families[family], err = t.build(family, idle, part); err != nil {
			return nil, errors.Join(err, t.empty(idle, families))
		}
	}
	// The kernel copies current byte by byte, so what the idle slot has is said before the
	// flip: else a packet in between takes one slot with the sizes of another.
	if err := t.edit(func(c *bpf.XdpallowCurrent) { describe(c, idle, families) }); err != nil {
		return nil, errors.Join(err, t.empty(idle, families))
	}
	if err := t.putPolicy(idle, value); err != nil {
		return nil, errors.Join(err, t.empty(idle, families))
	}

	t.settled, t.widened = false, [2]int{}
	old, retired, reachable := t.live.Slot, t.families, !t.Stale()
	t.move()
	if err := t.flip(idle, p.Generation, families, reachable); err != nil {
		return nil, errors.Join(fmt.Errorf("flip current: %w", err), t.empty(idle, families))
	}
	if err := t.Barrier(); err != nil {
		return nil, err
	}
	if reachable {
		used, err = usedEntries(retired)
		retired[0].trie.m, retired[1].trie.m = nil, nil // those Use reads until Release
	}
	return used, errors.Join(err, t.empty(old, retired))
}

// flip makes slot live, which has families, and keeps the tries before them for Use where
// they can be read.
func (t *Tables) flip(slot, generation uint64, families [2]familySlot, reachable bool) error {
	if err := t.setCurrent(slot, generation); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if reachable {
		t.retired = [2]trie{t.families[0].trie, t.families[1].trie}
	}
	t.families, t.needsPublish = families, false
	return nil
}

// build makes what one family has in the idle slot, proves it, and pins it before
// anything can use it. What it returns beside an error is to be emptied.
func (t *Tables) build(family int, slot uint64, entries []Entry) (s familySlot, err error) {
	if s.trie, err = newTrie(family == 0, len(entries)); err != nil {
		return s, err
	}
	if err := s.trie.fill(entries); err != nil {
		return s, fmt.Errorf("fill %s: %w", outerNames[family], err)
	}
	if err := s.trie.verify(entries); err != nil {
		return s, fmt.Errorf("verify %s: %w", outerNames[family], err)
	}
	if err := t.putInner(t.allow[family], outerNames[family], slot, s.trie.m); err != nil {
		return s, err
	}
	s.prefilter = bloom.New(family, prefixes(entries))
	s.fine, err = t.writePrefilter(s.prefilter, slot)
	s.prefilter.Coarse, s.prefilter.Fine = nil, nil // the kernel has them now
	return s, err
}

func (t *Tables) putPolicy(slot uint64, value *bpf.XdpallowPolicy) error {
	if err := t.policy.Put(uint32(slot), value); err != nil {
		return fmt.Errorf("put policy: %w", err)
	}
	return nil
}

// putInner pins m and puts it into slot of an outer map.
func (t *Tables) putInner(outer *ebpf.Map, name string, slot uint64, m *ebpf.Map) error {
	if err := t.pins.Pin(innerName(name, slot), m); err != nil {
		return err
	}
	if err := outer.Put(uint32(slot), m); err != nil {
		return fmt.Errorf("put into %s: %w", name, err)
	}
	return nil
}

func (t *Tables) empty(slot uint64, families [2]familySlot) error {
	var errs []error
	for family, one := range families {
		for name, outer := range map[string]*ebpf.Map{outerNames[family]: t.allow[family], fineNames[family]: t.fine[family]} {
			if err := outer.Delete(uint32(slot)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				errs = append(errs, fmt.Errorf("empty %s: %w", name, err))
			}
			errs = append(errs, t.pins.Unpin(innerName(name, slot)))
		}
		errs = append(errs, one.close())
	}
	return errors.Join(errs...)
}

func checkEntries(sorted []Entry) error {
	for i, e := range sorted {
		if err := checkPrefix(e.Prefix); err != nil {
			return err
		}
		if i > 0 && sorted[i-1].Prefix == e.Prefix {
			return fmt.Errorf("prefix %v is there twice", e.Prefix)
		}
	}
	return nil
}

func usedEntries(families [2]familySlot) (used []Entry, err error) {
	for _, slot := range families {
		if err := slot.trie.all(func(e Entry) error {
			if e.Hits != 0 || e.LastSeen != 0 {
				used = append(used, e)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return used, nil
}

// newBarrier makes a map that no program sees, see Barrier.
func newBarrier() (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "barrier", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		InnerMap: &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1},
	})
	if err != nil {
		return nil, fmt.Errorf("make barrier: %w", err)
	}
	return m, nil
}

// Barrier returns when every program that was running has ended. It puts a map into a
// map of maps by a single update: the kernel returns from that only after an RCU grace
// period (maybe_wait_bpf_programs in kernel/bpf/syscall.c), and XDP programs run under
// RCU. About 8 ms.
func (t *Tables) Barrier() error {
	inner, err := ebpf.NewMap(&ebpf.MapSpec{Name: "barrier", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("make barrier: %w", err)
	}
	defer inner.Close()
	if err := t.barrier.Put(uint32(0), inner); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	t.settled = true
	return nil
}
