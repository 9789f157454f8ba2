/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a frame to the port and the source that decide: the rules 0 to 4 and 7
 * of DESIGN 4.2, from the outside in, stopping at the first finding.
 *
 * Each function checks bounds, reads its header, moves the cursor behind it and
 * returns UNDECIDED, or the reason that ends the walk. The cursor is an offset.
 * Fields of struct packet are in host byte order unless they say otherwise. Only
 * the linear part is read: a header that lies behind it is malformed.
 *
 * Tags and extension headers are rare and long to verify, so they are walked in
 * global functions: the verifier walks those once, and the packet path calls
 * them only for a packet that has one.
 */
#ifndef XDPALLOW_PARSE_H
#define XDPALLOW_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

/* Linux strips any number of VID-0 tags and walks any number of extension
 * headers, so no bound is deep enough: what lies past ours is dropped. */
#define MAX_TAGS 4
#define MAX_EXTENSIONS 8

#define UNDECIDED REASON_ROOM

/* 6.1 forgets the bound of a value that was kept on the stack, and the compiler leaves
 * out a mask that it knows to change nothing: this one stays. */
#define BOUNDED(value, mask)                                                  \
	({                                                                    \
		__u32 bounded = (value);                                      \
		barrier_var(bounded);                                         \
		bounded & (mask);                                             \
	})

#define NEXT_HOP_BY_HOP 0
#define NEXT_IPV4 4
#define NEXT_IPV6 41
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_AUTHENTICATION 51
#define NEXT_DESTINATION 60

#define IPV4_OFFSET 0x1fff
#define IPV4_FRAGMENT 0x3fff /* offset and MF */
#define IPV6_OFFSET 0xfff8
#define IPV6_FRAGMENT 0xfff9 /* offset and M; the two bits between are reserved */

#define TCP_SYN 0x02
#define TCP_ACK 0x10

/* Where the walk is; scalars only, so that it can cross into global functions. */
struct cursor {
	__u32 at;   /* offset of the next header in the frame */
	__u32 end;  /* offset where the packet ends: the frame, or what IP cuts off */
	__u32 next; /* what the next header is: ethertype or protocol */
	__u32 fragment; /* of a datagram */
};

/* No walk within our bounds gets further than this mask; it tells the verifier so. */
#define MAX_CURSOR 0x7fff

/* Scalars only, and never handed on by address: so the compiler keeps it in registers,
 * which is a third of what the walk costs. */
struct packet {
	void *data;
	void *data_end;
	struct cursor cursor;
	__u32 network; /* offset of the IP header */
	__u32 options; /* offset of the IPv4 options */
	__u32 options_length;
	__u16 source_port;
	__u16 port;
	__u8 family;
	__u8 flags; /* of TCP */
	__u8 has_flags;
	__u8 has_source; /* see read_source */
};

/* The next size bytes of the packet, or NULL where it has no such bytes. */
static __always_inline void *peek(void *data, void *data_end, const struct cursor *c, __u32 size)
{
	void *header = data + BOUNDED(c->at, MAX_CURSOR);

	if (header + size > data_end || c->at + size > c->end)
		return NULL;
	return header;
}

static __always_inline int is_tag(__u32 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

/*
 * Tags are skipped whatever their VID: Linux delivers VID 0 as untagged, a
 * sub-interface takes its own VID, and to miss either would let a tagged SYN
 * through.
 */
__noinline enum reason skip_tags(struct xdp_md *ctx, struct cursor *cursor)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct cursor c;

	if (!cursor)
		return REASON_MALFORMED;
	c = *cursor;
	for (int i = 0; i < MAX_TAGS && is_tag(c.next); i++) {
		__be16 *tag = peek(data, data_end, &c, 4);

		if (!tag)
			return REASON_MALFORMED;
		c.next = bpf_ntohs(tag[1]);
		c.at += 4;
	}
	*cursor = c;
	return is_tag(c.next) ? REASON_TOO_DEEP : UNDECIDED;
}

static __always_inline enum reason parse_link(struct xdp_md *ctx, struct packet *p)
{
	struct ethhdr *ethernet = peek(p->data, p->data_end, &p->cursor, sizeof(*ethernet));

	if (!ethernet)
		return REASON_MALFORMED;
	p->cursor.next = bpf_ntohs(ethernet->h_proto);
	p->cursor.at += sizeof(*ethernet);
	if (is_tag(p->cursor.next)) {
		struct cursor c = p->cursor;
		enum reason finding = skip_tags(ctx, &c);

		p->cursor = c;
		return finding;
	}
	return UNDECIDED;
}

/*
 * A version that is not 4 leaves no source to read. Everything behind the fixed
 * header has one, so a listed source's broken packet still passes: the stack
 * drops it with the right counter, as it would without us.
 */
static __always_inline enum reason parse_ipv4(struct packet *p)
{
	struct {
		__u8 version_ihl, tos;
		__be16 total_length, id, fragment;
		__u8 ttl, protocol;
		__be16 checksum;
		__u8 source[4], destination[4];
	} *ip = peek(p->data, p->data_end, &p->cursor, sizeof(*ip));
	__u32 header, total;

	if (!ip || ip->version_ihl >> 4 != 4)
		return REASON_MALFORMED;
	p->network = p->cursor.at;
	p->has_source = 1;

	header = (ip->version_ihl & 0xf) * 4;
	total = bpf_ntohs(ip->total_length);
	if (header < sizeof(*ip) || total < header || total > p->cursor.end - p->cursor.at)
		return REASON_MALFORMED;
	p->cursor.end = p->cursor.at + total;
	if (!peek(p->data, p->data_end, &p->cursor, header))
		return REASON_MALFORMED;
	p->options = p->cursor.at + sizeof(*ip);
	p->options_length = header - sizeof(*ip);
	p->cursor.at += header;
	p->cursor.next = ip->protocol;

	/* Later fragments carry no port and first ones can be overlapped or cut
	 * before the flags, so every fragment of TCP is one finding. */
	if (ip->fragment & bpf_htons(IPV4_FRAGMENT)) {
		p->cursor.fragment = 1;
		if (ip->protocol == IPPROTO_TCP)
			return REASON_FRAGMENT;
		/* A datagram opens nothing without its first fragment, which
		 * has the ports and is judged. */
		if (ip->fragment & bpf_htons(IPV4_OFFSET))
			return REASON_OTHER_PROTOCOL;
	}
	return UNDECIDED;
}

/* Is next an extension header that Linux walks on its way to TCP? Any other
 * number is the upper protocol: to walk on would read its payload as headers. */
static __always_inline int is_extension(__u32 next)
{
	return next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING ||
	       next == NEXT_FRAGMENT || next == NEXT_AUTHENTICATION ||
	       next == NEXT_DESTINATION;
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
		length = c.next == NEXT_AUTHENTICATION ? (header[1] + 2) * 4 :
			 c.next == NEXT_FRAGMENT       ? 8 :
							 (header[1] + 1) * 8;
		/* A chain that ends behind the packet: Linux refuses it, and what
		 * we would read there is not what Linux would. */
		if (c.at + length > c.end)
			return REASON_MALFORMED;
		if (c.next == NEXT_FRAGMENT) {
			__be16 offset = *(__be16 *)(header + 2);

			finding = parse_fragment(header[0], offset);
			c.fragment |= (offset & bpf_htons(IPV6_FRAGMENT)) != 0;
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

static __always_inline enum reason parse_ipv6(struct xdp_md *ctx, struct packet *p)
{
	struct {
		__u8 version_class, class_flow;
		__be16 flow, payload_length;
		__u8 next, hop_limit;
		__u8 source[16], destination[16];
	} *ip = peek(p->data, p->data_end, &p->cursor, sizeof(*ip));
	__u32 payload;

	if (!ip || ip->version_class >> 4 != 6)
		return REASON_MALFORMED;
	p->network = p->cursor.at;
	p->has_source = 1;

	p->cursor.at += sizeof(*ip);
	payload = bpf_ntohs(ip->payload_length);
	if (payload > p->cursor.end - p->cursor.at)
		return REASON_MALFORMED;
	p->cursor.end = p->cursor.at + payload;
	p->cursor.next = ip->next;
	if (is_extension(ip->next)) {
		struct cursor c = p->cursor;
		enum reason finding = skip_extensions(ctx, &c);

		p->cursor = c;
		return finding;
	}
	return UNDECIDED;
}

/* Ports, and the TCP flags where they are there. Never more: a shorter header
 * than Linux wants is Linux's to refuse. */
static __always_inline enum reason parse_transport(struct packet *p)
{
	__u32 protocol = p->cursor.next;
	__be16 *ports;
	__u8 *header;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return REASON_OTHER_PROTOCOL;
	ports = peek(p->data, p->data_end, &p->cursor, 4);
	if (!ports)
		return REASON_MALFORMED;
	p->source_port = bpf_ntohs(ports[0]);
	p->port = bpf_ntohs(ports[1]);
	header = protocol == IPPROTO_TCP ? peek(p->data, p->data_end, &p->cursor, 14) : NULL;
	if (header) {
		p->flags = header[13];
		p->has_flags = 1;
	}
	return UNDECIDED;
}

#define IPV4_SOURCE 12 /* offset in the header */
#define IPV6_SOURCE 8

/* The source of a packet that has one, network byte order, full length; the rest of the
 * key is 0. */
static __always_inline void read_source(const struct packet *p, struct key *source)
{
	void *header = p->data + BOUNDED(p->network, MAX_CURSOR);
	__u32 *words = (__u32 *)source->address;

	__builtin_memset(source, 0, sizeof(*source));
	if (header + IPV6_SOURCE + 16 > p->data_end) {
		/* The end of a frame whose header is shorter than that: IPv4. */
		if (header + IPV4_SOURCE + 4 > p->data_end)
			return;
		source->prefixlen = 32;
		words[0] = *(__u32 *)(header + IPV4_SOURCE);
		return;
	}
	if (p->family == FAMILY_IPV4) {
		source->prefixlen = 32;
		words[0] = *(__u32 *)(header + IPV4_SOURCE);
		return;
	}
	source->prefixlen = 128;
	__builtin_memcpy(source->address, header + IPV6_SOURCE, 16);
}

/* The whole walk. UNDECIDED: the packet is TCP or UDP and its ports are read. */
static __always_inline enum reason parse(struct xdp_md *ctx, struct packet *p)
{
	enum reason finding;

	p->family = FAMILY_OTHER;
	finding = parse_link(ctx, p);
	if (finding != UNDECIDED)
		return finding;
	if (p->cursor.next == ETH_P_IP) {
		p->family = FAMILY_IPV4;
		finding = parse_ipv4(p);
	} else if (p->cursor.next == ETH_P_IPV6) {
		p->family = FAMILY_IPV6;
		finding = parse_ipv6(ctx, p);
	} else {
		return REASON_NOT_IP;
	}
	return finding == UNDECIDED ? parse_transport(p) : finding;
}

#endif
