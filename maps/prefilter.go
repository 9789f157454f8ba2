package maps

// This file writes the prefilter of package bloom into the kernel, whole or bit by bit.

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps/bloom"
)

const coarseBlocks = 1 << (bpf.XdpallowLimitMAX_COARSE_BITS - bpf.XdpallowLimitBLOCK_BITS)

var fineNames = [2]string{bpf.XdpallowMapBloomFine4, bpf.XdpallowMapBloomFine6}

// describe says in current how big the bitmaps of slot are.
func describe(current *bpf.XdpallowCurrent, slot uint64, families [2]familySlot) {
	for family, one := range families {
		sizes := &current.Prefilter[slot][family]
		sizes.Shift, sizes.FineBits = 0, 0
		if f := one.prefilter; f.CoarseBits != 0 {
			sizes.Shift, sizes.FineBits = uint8(64+bloom.BlockBits-f.CoarseBits), uint8(f.FineBits)
		}
	}
}

// described is the inverse of describe, of the live slot.
func described(current *bpf.XdpallowCurrent, family int) *bloom.Filter {
	f := &bloom.Filter{Family: family}
	if sizes := current.Prefilter[current.Slot%slots][family]; sizes.Shift != 0 {
		f.CoarseBits, f.FineBits = 64+bloom.BlockBits-uint32(sizes.Shift), uint32(sizes.FineBits)
	}
	return f
}

// coarseBlock is where a family's coarse level begins in a slot.
func coarseBlock(slot uint64, family int) uint32 {
	return (uint32(slot)*2 + uint32(family)) * coarseBlocks
}

// writePrefilter puts the bitmaps into slot; it returns the map of the fine level,
// nil when the prefilter is off.
func (t *Tables) writePrefilter(f *bloom.Filter, slot uint64) (*ebpf.Map, error) {
	if f.CoarseBits == 0 {
		return nil, nil
	}
	if err := putBlocks(t.coarse, coarseBlock(slot, f.Family), f.Coarse); err != nil {
		return nil, fmt.Errorf("write %s: %w", bpf.XdpallowMapBloomCoarse, err)
	}
	fine, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: fineNames[f.Family], Type: ebpf.Array, Flags: innerMap, KeySize: 4, ValueSize: 64, MaxEntries: uint32(len(f.Fine)),
	})
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", fineNames[f.Family], err)
	}
	if err := putBlocks(fine, 0, f.Fine); err != nil {
		return fine, fmt.Errorf("write %s: %w", fineNames[f.Family], err)
	}
	return fine, t.putInner(t.fine[f.Family], fineNames[f.Family], slot, fine)
}

// widen sets the bits of a prefix that a patch is about to insert. Bits of what a
// patch removes stay until the next publish, so there is one when the prefilter would
// have become too full to be of use. ErrPatch when the bits are too many, or too many were set.
func (t *Tables) widen(p netip.Prefix) error {
	s := t.families[familyOf(p)]
	f := s.prefilter
	if f.CoarseBits == 0 {
		return nil
	}
	if f.Bits(p) > maxPatch || t.widened[f.Family] > 2*int(s.trie.m.MaxEntries()) {
		return ErrPatch
	}
	t.widened[f.Family]++
	var err error
	f.Add(p, func(index uint32) {
		err = errors.Join(err, setBit(t.coarse, coarseBlock(t.live.Slot, f.Family)+index>>bloom.BlockBits, index))
	}, func(index uint32) {
		err = errors.Join(err, setBit(s.fine, index>>bloom.BlockBits, index))
	})
	return err
}

const maxPatch = 4096 // bits, each a system call or two

func setBit(m *ebpf.Map, at, index uint32) error {
	var b bloom.Block
	if err := m.Lookup(at, &b); err != nil {
		return fmt.Errorf("read a block of the prefilter: %w", err)
	}
	b.Words[index>>6&7] |= 1 << (index & 63)
	if err := m.Put(at, b); err != nil {
		return fmt.Errorf("set a bit of the prefilter: %w", err)
	}
	return nil
}

// innerMap is BPF_F_INNER_MAP: the inner map's size may differ from the template's.
const innerMap = 1 << 12

// putBlocks writes blocks from first on.
func putBlocks(m *ebpf.Map, first uint32, blocks []bloom.Block) error {
	keys := make([]uint32, len(blocks))
	for i := range keys {
		keys[i] = first + uint32(i)
	}
	if n, err := m.BatchUpdate(keys, blocks, nil); err != nil || n != len(blocks) {
		return errors.Join(fmt.Errorf("%d of %d blocks written", n, len(blocks)), err)
	}
	return nil
}
