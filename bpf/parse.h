/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a frame to the port and the source that decide: the rules 0 to 4 and 7
 * of README.md, from the outside in, stopping at the first finding.
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
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include "cursor.h"
#include "extensions.h"

/* Linux strips any number of VID-0 tags, so no bound is deep enough: what lies past
 * ours is dropped. */
#define MAX_TAGS 4

#define IPV4_OFFSET 0x1fff
#define IPV4_FRAGMENT 0x3fff /* offset and MF */

#define TCP_FLAGS (offsetof(struct tcphdr, window) - 1) /* the byte that has them */
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

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

/*
 * 1 where frames have no Ethernet header: of tun and of other tunnels' devices. The
 * loader sets it by what the interface is.
 */
volatile const __u8 ip_first = 0;

/* Linux goes by what the tunnel said of the packet, which we do not see, and refuses what
 * its version contradicts. */
static __always_inline enum reason parse_version(struct packet *p)
{
	__u8 *version = peek(p->data, p->data_end, &p->cursor, 1);

	if (!version || (*version >> 4 != 4 && *version >> 4 != 6))
		return REASON_MALFORMED;
	p->cursor.next = *version >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6;
	return UNDECIDED;
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

#define MAX_LENGTH 0xffff /* what a length field of IP can say */

/* The bytes that a length field says, of left that are there. Generic mode runs behind GRO,
 * which may join segments to more than the field can say, and leaves it 0. */
static __always_inline __u32 length_of(__be16 field, __u32 left)
{
	return !field && left > MAX_LENGTH ? left : bpf_ntohs(field);
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
	total = length_of(ip->total_length, p->cursor.end - p->cursor.at);
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
		int later = (ip->fragment & bpf_htons(IPV4_OFFSET)) != 0;

		p->cursor.fragment = later ? FRAGMENT_LATER : FRAGMENT_FIRST;
		if (ip->protocol == IPPROTO_TCP)
			return REASON_FRAGMENT;
		/* A datagram opens nothing without its first fragment, which
		 * has the ports and is judged. */
		if (later)
			return REASON_OTHER_PROTOCOL;
	}
	return UNDECIDED;
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
	payload = length_of(ip->payload_length, p->cursor.end - p->cursor.at);
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
	header = protocol == IPPROTO_TCP ? peek(p->data, p->data_end, &p->cursor, TCP_FLAGS + 1)
					 : NULL;
	if (header) {
		p->flags = header[TCP_FLAGS];
		p->has_flags = 1;
	}
	return UNDECIDED;
}

/* The source of a packet that has one, network byte order, full length; the rest of the
 * key is 0. */
static __always_inline void read_source(const struct packet *p, struct key *source)
{
	void *header = p->data + BOUNDED(p->network, MAX_CURSOR);
	__u32 *words = (__u32 *)source->address;

	__builtin_memset(source, 0, sizeof(*source));
	if (header + offsetof(struct ipv6hdr, saddr) + 16 > p->data_end) {
		/* The end of a frame whose header is shorter than that: IPv4. */
		if (header + offsetof(struct iphdr, saddr) + 4 > p->data_end)
			return;
		source->prefixlen = 32;
		words[0] = *(__u32 *)(header + offsetof(struct iphdr, saddr));
		return;
	}
	if (p->family == FAMILY_IPV4) {
		source->prefixlen = 32;
		words[0] = *(__u32 *)(header + offsetof(struct iphdr, saddr));
		return;
	}
	source->prefixlen = 128;
	__builtin_memcpy(source->address, header + offsetof(struct ipv6hdr, saddr), 16);
}

/* The whole walk. UNDECIDED: the packet is TCP or UDP and its ports are read. */
static __always_inline enum reason parse(struct xdp_md *ctx, struct packet *p)
{
	enum reason finding;

	p->family = FAMILY_OTHER;
	finding = ip_first ? parse_version(p) : parse_link(ctx, p);
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
