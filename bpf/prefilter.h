/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Can any entry cover this source? A Bloom filter of two levels answers before the tries
 * are asked: a clear bit proves that no entry does, a set bit proves nothing. So a mistake
 * here can drop a customer and never let a stranger in.
 *
 * The coarse level has three bits in one word for each block prefix, the /24 (IPv6: /32)
 * that an entry touches. They are scattered over a bitmap that is sized to the list: the
 * cost of a miss is the cache level of the first structure it touches, so 15 entries take
 * 1 KiB, and a million take 1 MiB where a bit for each /24 would take 2.
 *
 * The fine level is for an attacker who fakes sources near listed ones. It has three bits
 * for each item, a prefix of one of a few lengths that an entry covers or is rounded to.
 * All items of one /24 (IPv6: of one /48, the larger ones of one /32) have their bits in
 * one block, so that one cache line answers for all lengths.
 */
#ifndef XDPALLOW_PREFILTER_H
#define XDPALLOW_PREFILTER_H

#include <bpf/bpf_endian.h>

#include "maps.h"
#include "parse.h"

#define SCATTER_BLOCKS 0x9e3779b97f4a7c15ull /* 2^64 by the golden ratio, made odd */
#define SCATTER_ITEMS 0xc2b2ae3d27d4eb4full  /* another, or items would share bits in a block */

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
	return &current.prefilter[BOUNDED(slot, NR_SLOTS - 1)][family == FAMILY_IPV6];
}

/* The coarse level, of a family that has one, asked for the first 32 bits of a source as
 * they stand in the packet; 1 where an entry may cover it. */
static __always_inline int coarse_may_hold(__u32 slot, __u32 shift, __be32 first,
					   enum family family)
{
	/* Of IPv4 the last byte, which is the highest of these, is shifted out. */
	__u32 block_prefix = family == FAMILY_IPV4 ? first << 8 : first;
	__u64 spread = block_prefix * SCATTER_BLOCKS, word;
	__u32 at = (slot * 2 + (family == FAMILY_IPV6)) * COARSE_BLOCKS + (spread >> (shift & 63));
	struct block *block = bpf_map_lookup_elem(&bloom_coarse, &at);

	if (!block)
		return 1;
	word = block->words[spread >> 46 & 7];
	return word >> (spread >> 40 & 63) & word >> (spread >> 34 & 63) &
	       word >> (spread >> 28 & 63) & 1;
}

/* Whether the coarse level proves a source unlisted. */
static __always_inline int is_surely_unlisted(__u32 slot, __be32 first, enum family family)
{
	__u32 shift = sizes(slot, family)->shift;

	return shift && !coarse_may_hold(slot, shift, first, family);
}

/* The block of the fine level that has the bits of the first length bits of the source. */
static __always_inline const struct block *block_of(void *bits, __u32 fine_bits, __u64 leading,
						    __u32 length)
{
	__u64 around = (leading >> (64 - length)) + length;
	__u32 at = around * SCATTER_BLOCKS >> (64 + BLOCK_BITS - fine_bits & 63);

	return bpf_map_lookup_elem(bits, &at);
}

static __always_inline __u64 hash_of(__u64 leading, __u32 length, __u64 kind)
{
	return ((leading >> (64 - length)) + length + kind) * SCATTER_ITEMS;
}

static __always_inline int has_item(const struct block *block, __u64 leading, __u32 length)
{
	__u64 hash = hash_of(leading, length, 0);

	return has_bit(block, hash >> 55) && has_bit(block, hash >> 46 & 511) &&
	       has_bit(block, hash >> 37 & 511);
}

/* Whether a listed prefix is in the same /24 or /48: four bits, so that of a flood from all
 * over almost nothing looks like a customer who moved. */
static __always_inline int has_neighbour(const struct block *block, __u64 leading, __u32 length)
{
	__u64 hash = hash_of(leading, length, NEIGHBOUR);

	return has_bit(block, hash >> 55) && has_bit(block, hash >> 46 & 511) &&
	       has_bit(block, hash >> 37 & 511) && has_bit(block, hash >> 28 & 511);
}

#define MAY_COVER 1	/* the list must be asked */
#define HAS_NEIGHBOUR 2 /* a listed prefix is in the same /24 or /48, probably */

/* Asks the fine level. A global function: it is off the drop path of random sources. */
__noinline __u32 bloom_query(const struct key *source, __u32 slot, enum family family,
			     __u32 fine_bits)
{
	const struct block *block;
	struct key own;
	__u64 address;
	__u32 found;
	void *bits;

	if (!source || fine_bits <= BLOCK_BITS || fine_bits > MAX_FINE_BITS)
		return MAY_COVER;
	own = *source;
	address = leading(&own, family);
	if (family == FAMILY_IPV4) {
		bits = bpf_map_lookup_elem(&bloom_fine4, &slot);
		block = bits ? block_of(bits, fine_bits, address, 24) : NULL;
		if (!block)
			return MAY_COVER;
		found = has_neighbour(block, address, 24) ? HAS_NEIGHBOUR : 0;
		if (has_item(block, address, 24) || has_item(block, address, 28) ||
		    has_item(block, address, 32))
			found |= MAY_COVER;
		return found;
	}
	bits = bpf_map_lookup_elem(&bloom_fine6, &slot);
	block = bits ? block_of(bits, fine_bits, address, 48) : NULL;
	if (!block)
		return MAY_COVER;
	found = has_neighbour(block, address, 48) ? HAS_NEIGHBOUR : 0;
	if (has_item(block, address, 48) || has_item(block, address, 52) ||
	    has_item(block, address, 56) || has_item(block, address, 60) ||
	    has_item(block, address, 64))
		return found | MAY_COVER;
	block = block_of(bits, fine_bits, address, 32);
	if (!block || has_item(block, address, 32) || has_item(block, address, 40))
		found |= MAY_COVER;
	return found;
}

#endif
