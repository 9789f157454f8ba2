/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The chain of IPv6 extension headers, walked in a global function: rare, and long to
 * verify.
 */
#ifndef XDPALLOW_EXTENSIONS_H
#define XDPALLOW_EXTENSIONS_H

#include <linux/in.h>

#include "cursor.h"

/* Linux walks any number, so no bound is deep enough: what lies past ours is dropped. */
#define MAX_EXTENSIONS 8

#define NEXT_HOP_BY_HOP 0
#define NEXT_IPV4 4
#define NEXT_IPV6 41
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_AUTHENTICATION 51
#define NEXT_DESTINATION 60

#define IPV6_OFFSET 0xfff8
#define IPV6_FRAGMENT 0xfff9 /* offset and M; the two bits between are reserved */

/* Is next an extension header that Linux walks on its way to TCP? Any other
 * number is the upper protocol: to walk on would read its payload as headers. */
static __always_inline int is_extension(__u32 next)
{
	return next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT ||
	       next == NEXT_AUTHENTICATION || next == NEXT_DESTINATION;
}

/*
 * What a fragment is a fragment of is said by the header after it. TCP, and an
 * extension header that could lead to TCP in a part that we do not see, cannot
 * be judged. An atomic fragment is a whole packet and is walked through.
 */
static __always_inline enum reason parse_fragment(__u8 next, __be16 offset)
{
	if (!(offset & bpf_htons(IPV6_FRAGMENT)))
		return UNDECIDED;
	if (next == IPPROTO_TCP || is_extension(next))
		return REASON_FRAGMENT;
	if (offset & bpf_htons(IPV6_OFFSET))
		return REASON_OTHER_PROTOCOL;
	return UNDECIDED;
}

static __always_inline int is_ip(__u32 next)
{
	return next == NEXT_IPV4 || next == NEXT_IPV6;
}

__noinline enum reason skip_extensions(struct xdp_md *ctx, struct cursor *cursor)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	enum reason finding = UNDECIDED;
	struct cursor c;
	int routed = 0;

	if (!cursor)
		return REASON_MALFORMED;
	c = *cursor;
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(c.next); i++) {
		__u8 *header = peek(data, data_end, &c, 8);
		__u32 length;

		if (!header)
			return REASON_MALFORMED;
		length = c.next == NEXT_AUTHENTICATION ? (header[1] + 2) * 4
			 : c.next == NEXT_FRAGMENT     ? 8
						       : (header[1] + 1) * 8;
		/* A chain that ends behind the packet: Linux refuses it, and what
		 * we would read there is not what Linux would. */
		if (c.at + length > c.end)
			return REASON_MALFORMED;
		if (c.next == NEXT_FRAGMENT) {
			__be16 offset = *(__be16 *)(header + 2);

			finding = parse_fragment(header[0], offset);
			if (offset & bpf_htons(IPV6_FRAGMENT))
				c.fragment = offset & bpf_htons(IPV6_OFFSET) ? FRAGMENT_LATER
									     : FRAGMENT_FIRST;
		}
		if (c.next == NEXT_ROUTING)
			routed = 1;
		c.next = header[0];
		c.at += length;
		if (finding != UNDECIDED)
			break;
	}
	*cursor = c;
	/* SRv6 decapsulates what follows a routing header without any tunnel
	 * device, straight into the stack behind us. */
	if (routed && is_ip(c.next))
		return REASON_TUNNEL;
	if (finding != UNDECIDED)
		return finding;
	return is_extension(c.next) ? REASON_TOO_DEEP : UNDECIDED;
}

#endif
