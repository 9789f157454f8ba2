/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Can any entry cover this source? A clear bit proves that none does; a set bit proves
 * nothing, and the trie is asked. So a mistake here can drop a customer and never let
 * a stranger in.
 *
 * The first level has three bits in one word for each /24 (IPv6: /32) that an entry
 * touches, scattered over a bitmap that is sized to the list: the cost of a miss is the
 * cache level of the first structure it touches, so 15 entries take 1 KiB, and a million
 * take 1 MiB where a bit for each /24 would take 2. The second is for an attacker who
 * fakes sources near listed ones: three bits for each piece that an entry covers, at a
 * few lengths. All pieces of one /24 (IPv6: of one /48, the larger ones of one /32) have
 * their bits in one block, so that one cache line says no to all lengths.
 */
#ifndef XDPALLOW_PREFILTER_H
#define XDPALLOW_PREFILTER_H

#include <bpf/bpf_endian.h>

#include "maps.h"
#include "parse.h"

#define SCATTER_BLOCKS 0x9e3779b97f4a7c15ull /* 2^64 by the golden ratio, made odd */
#define SCATTER_PIECES 0xc2b2ae3d27d4eb4full /* another, or pieces would share bits in a block */
#define MARK 0x51ed270b			     /* tells a mark from a piece of the same bits */

static __always_inline int has_bit(const struct block *block, __u32 bit)
{
	return block->words[bit >> 6 & 7] >> (bit & 63) & 1;
}

/* The address, left-aligned: 32 bits of IPv4 or the first 64 of IPv6. */
static __always_inline __u64 leading(const struct key *source, enum family family)
{
	if (family == FAMILY_IPV4)
		return (__u64)bpf_ntohl(*(__u32 *)source->address) << 32;
	return (__u64)bpf_ntohl(*(__u32 *)source->address) << 32 |
	       bpf_ntohl(*(__u32 *)(source->address + 4));
}

static __always_inline const struct prefilter *sizes(__u32 slot, enum family family)
{
	return &current.prefilter[BOUNDED(slot, SLOTS - 1)][family == FAMILY_IPV6];
}

/* The first level, of a family that has one, asked for the first 32 bits of a source as
 * they stand in the packet; 1 where it cannot tell. */
static __always_inline int is_near(__u32 slot, __u32 shift, __be32 first, enum family family)
{
	/* Of IPv4 the last byte, which is the highest of these, is shifted out. */
	__u32 grain = family == FAMILY_IPV4 ? first << 8 : first;
	__u64 spread = grain * SCATTER_BLOCKS, word;
	__u32 at = (slot * 2 + (family == FAMILY_IPV6)) * NEAR_BLOCKS + (spread >> (shift & 63));
	struct block *block = bpf_map_lookup_elem(&near, &at);

	if (!block)
		return 1;
	word = block->words[spread >> 46 & 7];
	return word >> (spread >> 40 & 63) & word >> (spread >> 34 & 63) &
	       word >> (spread >> 28 & 63) & 1;
}

/* Whether the first level proves a source unlisted. */
static __always_inline int is_far(__u32 slot, __be32 first, enum family family)
{
	__u32 shift = sizes(slot, family)->shift;

	return shift && !is_near(slot, shift, first, family);
}

/* The block of the first length bits of the source. */
static __always_inline const struct block *block_of(void *bits, __u32 exact, __u64 leading,
						    __u32 length)
{
	__u64 around = (leading >> (64 - length)) + length;
	__u32 at = around * SCATTER_BLOCKS >> (64 + BLOCK_BITS - exact & 63);

	return bpf_map_lookup_elem(bits, &at);
}

static __always_inline __u64 piece_of(__u64 leading, __u32 length, __u64 kind)
{
	return ((leading >> (64 - length)) + length + kind) * SCATTER_PIECES;
}

static __always_inline int has_piece(const struct block *block, __u64 leading, __u32 length)
{
	__u64 piece = piece_of(leading, length, 0);

	return has_bit(block, piece >> 55) && has_bit(block, piece >> 46 & 511) &&
	       has_bit(block, piece >> 37 & 511);
}

/* The mark of a block's /24 or /48: four bits, so that of a flood from all over almost
 * nothing looks like a customer who moved. */
static __always_inline int has_mark(const struct block *block, __u64 leading, __u32 length)
{
	__u64 mark = piece_of(leading, length, MARK);

	return has_bit(block, mark >> 55) && has_bit(block, mark >> 46 & 511) &&
	       has_bit(block, mark >> 37 & 511) && has_bit(block, mark >> 28 & 511);
}

#define MAY_COVER 1	/* the list must be asked */
#define HAS_NEIGHBOUR 2 /* a listed prefix is in the same /24 or /48, probably */

/* The second level. A global function: it is off the drop path of random sources. */
__noinline __u32 look_around(const struct key *source, __u32 slot, enum family family, __u32 exact)
{
	const struct block *block;
	struct key own;
	__u64 address;
	__u32 found;
	void *bits;

	if (!source || exact <= BLOCK_BITS || exact > MAX_EXACT_BITS)
		return MAY_COVER;
	own = *source;
	address = leading(&own, family);
	if (family == FAMILY_IPV4) {
		bits = bpf_map_lookup_elem(&exact4, &slot);
		block = bits ? block_of(bits, exact, address, 24) : NULL;
		if (!block)
			return MAY_COVER;
		found = has_mark(block, address, 24) ? HAS_NEIGHBOUR : 0;
		if (has_piece(block, address, 24) || has_piece(block, address, 28) ||
		    has_piece(block, address, 32))
			found |= MAY_COVER;
		return found;
	}
	bits = bpf_map_lookup_elem(&exact6, &slot);
	block = bits ? block_of(bits, exact, address, 48) : NULL;
	if (!block)
		return MAY_COVER;
	found = has_mark(block, address, 48) ? HAS_NEIGHBOUR : 0;
	if (has_piece(block, address, 48) || has_piece(block, address, 52) ||
	    has_piece(block, address, 56) || has_piece(block, address, 60) ||
	    has_piece(block, address, 64))
		return found | MAY_COVER;
	block = block_of(bits, exact, address, 32);
	if (!block || has_piece(block, address, 32) || has_piece(block, address, 40))
		found |= MAY_COVER;
	return found;
}

#endif
