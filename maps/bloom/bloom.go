// Package bloom makes the Bloom filter that stands before the tries: which bits a list of
// prefixes sets, and how big the filter must be. It is pure; package maps writes the bits
// into the kernel, and bpf/prefilter.h asks for them.
package bloom

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"

	"github.com/xdpallow/xdpallow/bpf"
)

// Filter is one family's Bloom filter, see bpf/prefilter.h: three bits for everything that
// an entry touches. A bit too many costs a lookup, a bit too few drops a customer.
//
// Measured and left out: one exact table of all /24s (32 MiB, slower on a miss than this),
// the kernel's Bloom filter map (a helper call and a hash a bit), a cache of verdicts
// (random sources fill it and never come back), one bit for each /24 in the coarse level (at
// equal error it is two to four times as big; a miss among 100,000 took 40 ns and not 32,
// among a million 80 and not 70), a second bitmap before it (no faster, and one more), inner
// maps small enough for the kernel's large pages (no faster), the bitmap as a variable like
// current (2 ns of a live drop; it would have to be written by mmap, and fit 4 MiB on 6.1).
type Filter struct {
	Family       int // 0 is IPv4, 1 IPv6
	Coarse, Fine []Block
	CoarseBits   uint32 // the coarse level has 2^CoarseBits bits; 0 is off
	FineBits     uint32 // likewise
}

// Block is a cache line of bits.
type Block = bpf.XdpallowBlock

const (
	BlockBits     = uint32(bpf.XdpallowLimitBLOCK_BITS)
	minCoarseBits = int(bpf.XdpallowLimitMIN_COARSE_BITS)
	maxCoarseBits = int(bpf.XdpallowLimitMAX_COARSE_BITS)
	maxFineBits   = int(bpf.XdpallowLimitMAX_FINE_BITS)
	neighbour     = uint64(bpf.XdpallowLimitNEIGHBOUR)

	// SCATTER_BLOCKS and SCATTER_ITEMS, which are longer than an enum of BTF can say.
	scatterBlocks = 0x9e3779b97f4a7c15
	scatterItems  = 0xc2b2ae3d27d4eb4f
)

// blockPrefix is the length of what the bits of the coarse level stand for.
var blockPrefix = [2]int{24, 32}

// itemLengths are the lengths that the fine level is probed at. An entry is cut into
// items of the next of them, or belongs to the last one that is shorter.
var itemLengths = [2][]int{{24, 28, 32}, {32, 40, 48, 52, 56, 60, 64}}

// neighbourhood is how much of the address a near miss shares with a listed prefix.
var neighbourhood = [2]int{24, 48}

// around is the length whose block has the bits of an item.
func around(family, length int) int {
	if length < neighbourhood[family] {
		return 32 // of IPv6 alone: no item of IPv4 is shorter
	}
	return neighbourhood[family]
}

// The filter is switched off when its coarse level would have less than four bits for
// each thing that entries touch: beyond that it says "maybe" to most of a flood.
const maxCoarse = 1 << (maxCoarseBits - 2)

// New makes the filter of the prefixes of one family: Coarse and Fine nil where it is off.
func New(family int, prefixes iter.Seq[netip.Prefix]) *Filter {
	f := &Filter{Family: family}
	var coarse, fine uint64
	for p := range prefixes {
		coarse += f.count(p, blockPrefix[family:family+1])
		fine += f.count(p, itemLengths[family]) + 2*f.neighbours(p)
		if coarse > maxCoarse || fine > 4*maxCoarse {
			return f
		}
	}
	// A stranger in a hundred looks near then, up to one in ten where rounding is unkind: he
	// costs two misses of the cache. In a bitmap too big for the cache every packet costs one.
	f.CoarseBits = size(5*coarse, minCoarseBits, maxCoarseBits)
	f.FineBits = size(16*fine, minCoarseBits, maxFineBits)
	f.Coarse = make([]Block, 1<<(f.CoarseBits-BlockBits))
	f.Fine = make([]Block, 1<<(f.FineBits-BlockBits))
	for p := range prefixes {
		f.Add(p, set(f.Coarse), set(f.Fine))
	}
	return f
}

// size is the power of two, as an exponent, that has room for want bits.
func size(want uint64, least, most int) uint32 {
	return uint32(min(max(bits.Len64(max(want, 1)-1), least), most))
}

// itemLength is the length that an entry of so many bits is cut at: the next one, or
// the one before where that would be more items than an entry is worth.
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
func (f *Filter) count(p netip.Prefix, lengths []int) uint64 {
	length := itemLength(p.Bits(), lengths)
	if p.Bits() >= length {
		return 1
	}
	return 1 << min(length-p.Bits(), 40)
}

// neighbours is 1 where p leaves strangers in its neighbourhood, who then are near misses.
func (f *Filter) neighbours(p netip.Prefix) uint64 {
	if p.Bits() > neighbourhood[f.Family] {
		return 1
	}
	return 0
}

func set(level []Block) func(index uint32) {
	return func(index uint32) { level[index>>BlockBits].Words[index>>6&7] |= 1 << (index & 63) }
}

// Add calls coarse and fine for every bit of p, some more than once. An index is that of a bit in its level:
// below 2^CoarseBits or 2^FineBits.
func (f *Filter) Add(p netip.Prefix, coarse, fine func(index uint32)) {
	start := leading(p.Addr())
	for i := range f.count(p, blockPrefix[f.Family:f.Family+1]) {
		f.setCoarse(start+i<<(64-blockPrefix[f.Family]), coarse)
	}
	length := itemLength(p.Bits(), itemLengths[f.Family])
	for i := range f.count(p, itemLengths[f.Family]) {
		f.setFine(start+i<<(64-length), length, 0, fine)
	}
	if f.neighbours(p) == 1 {
		f.setFine(start, neighbourhood[f.Family], neighbour, fine)
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
func (f *Filter) setCoarse(leading uint64, set func(index uint32)) {
	first := bits.ReverseBytes32(uint32(leading >> 32))
	if f.Family == 0 {
		first <<= 8
	}
	spread := uint64(first) * scatterBlocks
	word := uint32(spread>>(64+BlockBits-f.CoarseBits)<<BlockBits | spread>>46&7<<6)
	set(word + uint32(spread>>40&63))
	set(word + uint32(spread>>34&63))
	set(word + uint32(spread>>28&63))
}

// setFine calls set for the bits of the item of length bits, or of a neighbour, in the block
// of what is around it.
func (f *Filter) setFine(leading uint64, length int, kind uint64, set func(index uint32)) {
	group := around(f.Family, length)
	block := uint32((leading>>(64-group)+uint64(group))*scatterBlocks>>(64+BlockBits-f.FineBits)) << BlockBits
	item := (leading>>(64-length) + uint64(length) + kind) * scatterItems
	set(block + uint32(item>>55))
	set(block + uint32(item>>46&511))
	set(block + uint32(item>>37&511))
	if kind == neighbour {
		set(block + uint32(item>>28&511))
	}
}

// Bits is how many bits p sets at most.
func (f *Filter) Bits(p netip.Prefix) uint64 {
	return f.count(p, blockPrefix[f.Family:f.Family+1]) + f.count(p, itemLengths[f.Family])
}
