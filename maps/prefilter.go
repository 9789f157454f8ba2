package maps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
)

// prefilter is one family's bitmaps, see bpf/prefilter.h: three bits for everything that
// an entry touches. A bit too many costs a lookup, a bit too few drops a customer.
//
// Measured and left out: one exact table of all /24s (32 MiB, slower on a miss than this),
// the kernel's Bloom filter map (a helper call and a hash a bit), a cache of verdicts
// (random sources fill it and never come back), one bit for each /24 in the first level (at
// equal error it is two to four times as big; a miss among 100,000 took 40 ns and not 32,
// among a million 80 and not 70), a second bitmap before it (no faster, and one more), inner
// maps small enough for the kernel's large pages (no faster), the bitmap as a variable like
// current (2 ns of a live drop; it would have to be written by mmap, and fit 4 MiB on 6.1).
type prefilter struct {
	family       int
	coarse, fine []block
	coarseBits   uint32 // 0 is off
	fineBits     uint32
}

type block = bpf.XdpallowBlock

const (
	blockBits     = uint32(bpf.XdpallowLimitBLOCK_BITS)
	minCoarseBits = int(bpf.XdpallowLimitMIN_COARSE_BITS)
	maxCoarseBits = int(bpf.XdpallowLimitMAX_COARSE_BITS)
	maxFineBits   = int(bpf.XdpallowLimitMAX_FINE_BITS)
	coarseBlocks  = 1 << (maxCoarseBits - int(blockBits))
	neighbour     = uint64(bpf.XdpallowLimitNEIGHBOUR)

	// SCATTER_BLOCKS and SCATTER_ITEMS, which are longer than an enum of BTF can say.
	scatterBlocks = 0x9e3779b97f4a7c15
	scatterItems  = 0xc2b2ae3d27d4eb4f
)

// blockPrefix is the length of what the bits of the first level stand for.
var blockPrefix = [2]int{24, 32}

// itemLengths are the lengths that the second level is probed at. An entry is cut into
// itemLengths of the next of them, or belongs to the last one that is shorter.
var itemLengths = [2][]int{{24, 28, 32}, {32, 40, 48, 52, 56, 60, 64}}

// neighbourhood is how much of the address a near miss shares with a listed prefix.
var neighbourhood = [2]int{24, 48}

// around is the length whose block has the bits of a item.
func around(family, length int) int {
	if length < neighbourhood[family] {
		return 32 // of IPv6 alone: no item of IPv4 is shorter
	}
	return neighbourhood[family]
}

// The prefilter is switched off when its first level would have less than four bits for
// each thing that entries touch: beyond that it says "maybe" to most of a flood.
const maxCoarse = 1 << (maxCoarseBits - 2)

func newPrefilter(family int, entries []Entry) *prefilter {
	f := &prefilter{family: family}
	var coarse, fine uint64
	for _, e := range entries {
		coarse += f.count(e.Prefix, blockPrefix[family:family+1])
		fine += f.count(e.Prefix, itemLengths[family]) + 2*f.neighbours(e.Prefix)
		if coarse > maxCoarse || fine > 4*maxCoarse {
			return f
		}
	}
	// A stranger in a hundred looks near then, up to one in ten where rounding is unkind: he
	// costs two misses of the cache. In a bitmap too big for the cache every packet costs one.
	f.coarseBits = size(5*coarse, minCoarseBits, maxCoarseBits)
	f.fineBits = size(16*fine, minCoarseBits, maxFineBits)
	f.coarse = make([]block, 1<<(f.coarseBits-blockBits))
	f.fine = make([]block, 1<<(f.fineBits-blockBits))
	for _, e := range entries {
		f.add(e.Prefix, set(f.coarse), set(f.fine))
	}
	return f
}

// size is the power of two, as an exponent, that has room for want bits.
func size(want uint64, least, most int) uint32 {
	return uint32(min(max(bits.Len64(max(want, 1)-1), least), most))
}

// itemLength is the length that an entry of so many bits is cut at: the next one, or
// the one before where that would be more itemLengths than an entry is worth.
func itemLength(bits int, lengths []int) int {
	for i, length := range lengths {
		if bits <= length {
			if i == 0 || length-bits <= 8 {
				return length
			}
			return lengths[i-1]
		}
	}
	return lengths[len(lengths)-1]
}

// count is how many bits p sets at the lengths.
func (f *prefilter) count(p netip.Prefix, lengths []int) uint64 {
	length := itemLength(p.Bits(), lengths)
	if p.Bits() >= length {
		return 1
	}
	return 1 << min(length-p.Bits(), 40)
}

// neighbours is 1 where p leaves strangers in its neighbourhood, who then are near misses.
func (f *prefilter) neighbours(p netip.Prefix) uint64 {
	if p.Bits() > neighbourhood[f.family] {
		return 1
	}
	return 0
}

func set(level []block) func(index uint32) {
	return func(index uint32) { level[index>>blockBits].Words[index>>6&7] |= 1 << (index & 63) }
}

// add calls coarse and fine for every bit of p.
func (f *prefilter) add(p netip.Prefix, coarse, fine func(index uint32)) {
	start := leading(p.Addr())
	for i := range f.count(p, blockPrefix[f.family:f.family+1]) {
		f.setCoarse(start+i<<(64-blockPrefix[f.family]), coarse)
	}
	length := itemLength(p.Bits(), itemLengths[f.family])
	for i := range f.count(p, itemLengths[f.family]) {
		f.setFine(start+i<<(64-length), length, 0, fine)
	}
	if f.neighbours(p) == 1 {
		f.setFine(start, neighbourhood[f.family], neighbour, fine)
	}
}

// leading is the address, left-aligned: 32 bits of IPv4 or the first 64 of IPv6.
func leading(addr netip.Addr) uint64 {
	if addr.Is4() {
		b := addr.As4()
		return uint64(binary.BigEndian.Uint32(b[:])) << 32
	}
	b := addr.As16()
	return binary.BigEndian.Uint64(b[:8])
}

// setCoarse calls set for the bits of what is around an address, all in one word.
func (f *prefilter) setCoarse(leading uint64, set func(index uint32)) {
	first := bits.ReverseBytes32(uint32(leading >> 32))
	if f.family == 0 {
		first <<= 8
	}
	spread := uint64(first) * scatterBlocks
	word := uint32(spread>>(64+blockBits-f.coarseBits)<<blockBits | spread>>46&7<<6)
	set(word + uint32(spread>>40&63))
	set(word + uint32(spread>>34&63))
	set(word + uint32(spread>>28&63))
}

// setFine calls set for the bits of the item of length bits, or of a neighbour, in the block
// of what is around it.
func (f *prefilter) setFine(leading uint64, length int, kind uint64, set func(index uint32)) {
	group := around(f.family, length)
	block := uint32((leading>>(64-group)+uint64(group))*scatterBlocks>>(64+blockBits-f.fineBits)) << blockBits
	item := (leading>>(64-length) + uint64(length) + kind) * scatterItems
	set(block + uint32(item>>55))
	set(block + uint32(item>>46&511))
	set(block + uint32(item>>37&511))
	if kind == neighbour {
		set(block + uint32(item>>28&511))
	}
}

var fineNames = [2]string{bpf.XdpallowMapBloomFine4, bpf.XdpallowMapBloomFine6}

// describe says in current how big the bitmaps of slot are.
func describe(current *bpf.XdpallowCurrent, slot uint64, halves [2]half) {
	for family, half := range halves {
		sizes := &current.Prefilter[slot][family]
		sizes.Shift, sizes.FineBits = 0, 0
		if f := half.prefilter; f.coarseBits != 0 {
			sizes.Shift, sizes.FineBits = uint8(64+blockBits-f.coarseBits), uint8(f.fineBits)
		}
	}
}

// described is the inverse of describe, of the live slot.
func described(current *bpf.XdpallowCurrent, family int) *prefilter {
	f := &prefilter{family: family}
	if sizes := current.Prefilter[current.Slot%slots][family]; sizes.Shift != 0 {
		f.coarseBits, f.fineBits = 64+blockBits-uint32(sizes.Shift), uint32(sizes.FineBits)
	}
	return f
}

// coarseBlock is where a family's first level begins in a slot.
func coarseBlock(slot uint64, family int) uint32 {
	return (uint32(slot)*2 + uint32(family)) * coarseBlocks
}

// writePrefilter puts the bitmaps into slot; it returns the map of the second level,
// nil when the prefilter is off.
func (t *Tables) writePrefilter(f *prefilter, slot uint64) (*ebpf.Map, error) {
	if f.coarseBits == 0 {
		return nil, nil
	}
	if err := putBlocks(t.coarse, coarseBlock(slot, f.family), f.coarse); err != nil {
		return nil, fmt.Errorf("write %s: %w", bpf.XdpallowMapBloomCoarse, err)
	}
	fine, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: fineNames[f.family], Type: ebpf.Array, Flags: innerMap, KeySize: 4, ValueSize: 64, MaxEntries: uint32(len(f.fine)),
	})
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", fineNames[f.family], err)
	}
	if err := putBlocks(fine, 0, f.fine); err != nil {
		return fine, fmt.Errorf("write %s: %w", fineNames[f.family], err)
	}
	return fine, t.putInner(t.fine[f.family], fineNames[f.family], slot, fine)
}

// widen sets the bits of a prefix that a patch is about to insert. Bits of what a
// patch removes stay until the next publish. ErrPatch when they would be too many.
func (t *Tables) widen(h half, p netip.Prefix) error {
	f := h.prefilter
	if f.coarseBits == 0 {
		return nil
	}
	if f.count(p, blockPrefix[f.family:f.family+1])+f.count(p, itemLengths[f.family]) > maxPatch {
		return ErrPatch
	}
	var err error
	f.add(p, func(index uint32) {
		err = errors.Join(err, setBit(t.coarse, coarseBlock(t.live.Slot, f.family)+index>>blockBits, index))
	}, func(index uint32) {
		err = errors.Join(err, setBit(h.fine, index>>blockBits, index))
	})
	return err
}

const maxPatch = 4096 // bits, each a system call or two

func setBit(m *ebpf.Map, at, index uint32) error {
	var b block
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
func putBlocks(m *ebpf.Map, first uint32, blocks []block) error {
	keys := make([]uint32, len(blocks))
	for i := range keys {
		keys[i] = first + uint32(i)
	}
	if n, err := m.BatchUpdate(keys, blocks, nil); err != nil || n != len(blocks) {
		return errors.Join(fmt.Errorf("%d of %d blocks written", n, len(blocks)), err)
	}
	return nil
}
