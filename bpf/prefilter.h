/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Can any entry cover this source? A clear bit proves that none does; a set bit proves
 * nothing, and the trie is asked. So a mistake here can drop a customer and never let
 * a stranger in.
 *
 * The first level has a bit for each /24 (IPv6: /32) that an entry touches, scattered
 * over a bitmap that is sized to the list: the cost of a miss is the cache level of the
 * first structure it touches, so 15 entries take 1 KiB and not 2 MiB. The second is for
 * an attacker who fakes sources near listed ones: a bit for each piece that an entry
 * covers, at the lengths that entries have, so that one probe a length says no.
 */
#ifndef XDPALLOW_PREFILTER_H
#define XDPALLOW_PREFILTER_H

#include <bpf/bpf_endian.h>

#include "maps.h"
#include "parse.h"

/* Odd, and so a bijection modulo any power of two: at 24 bits the first level of IPv4
 * is the plain bitmap of all /24s. 2^32 and 2^64 by the golden ratio. */
#define SCATTER32 0x9e3779b1u
#define SCATTER64 0x9e3779b97f4a7c15ull

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

/* The first level, of a family that has one; 1 where it cannot tell. */
static __always_inline int is_near(const struct policy *policy, __u32 slot, const struct key *source,
				   enum family family)
{
	__u32 top = bpf_ntohl(*(__u32 *)source->address), index, at;
	struct block *block;

	if (family == FAMILY_IPV4) {
		index = ((top >> 8) * SCATTER32 & 0xffffff) >>
			(24 - policy->prefilter[0].near & 31);
		at = slot * NEAR_BLOCKS + (index >> BLOCK_BITS);
		block = bpf_map_lookup_elem(&near4, &at);
	} else {
		index = top * SCATTER32 >> (32 - policy->prefilter[1].near & 31);
		at = slot * NEAR_BLOCKS + (index >> BLOCK_BITS);
		block = bpf_map_lookup_elem(&near6, &at);
	}
	return !block || has_bit(block, index);
}

/* One probe of the second level: the first length bits of the source. */
static __always_inline int has_piece(void *bits, __u32 exact, __u64 leading, __u32 length)
{
	__u64 piece = (leading & ~0ull << (64 - length)) + length;
	__u32 index = piece * SCATTER64 >> (64 - exact & 63), at = index >> BLOCK_BITS;
	struct block *block = bpf_map_lookup_elem(bits, &at);

	return !block || has_bit(block, index);
}

/* The second level; 1 where it cannot tell. A global function: it is off the drop path
 * of random sources. */
__noinline int may_cover(const struct key *source, __u32 slot, enum family family, __u32 exact)
{
	struct key own;
	__u64 address;
	void *bits;

	if (!source || !exact || exact > MAX_EXACT_BITS)
		return 1;
	own = *source;
	address = leading(&own, family);
	if (family == FAMILY_IPV4) {
		bits = bpf_map_lookup_elem(&exact4, &slot);
		return !bits || has_piece(bits, exact, address, 24) ||
		       has_piece(bits, exact, address, 28) || has_piece(bits, exact, address, 32);
	}
	bits = bpf_map_lookup_elem(&exact6, &slot);
	return !bits || has_piece(bits, exact, address, 32) || has_piece(bits, exact, address, 40) ||
	       has_piece(bits, exact, address, 48) || has_piece(bits, exact, address, 64);
}

#endif
