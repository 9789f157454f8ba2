/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Nearly every packet is plain: no tag, no IP option, no extension header, no fragment,
 * TCP or UDP. Its fields lie at fixed offsets, so it is read in registers and judged in
 * one line, and a flood costs little more than its parsing. Whatever is not plain, or
 * would need more than its source, is left UNDECIDED to the walk of parse.h: a mistake
 * here that says "not plain" costs time and nothing else.
 */
#ifndef XDPALLOW_PLAIN_H
#define XDPALLOW_PLAIN_H

#include <stddef.h>

#include "parse.h"

#define PLAIN_IPV4 0x45 /* version 4, no options */
#define PLAIN_TRANSPORT 14 /* bytes of it that are there: up to the flags of TCP */

struct plain {
	void *source;
	enum family family;
	__u32 protocol;
	__u16 source_port; /* host byte order */
	__u16 port;
	__u8 flags;
};

/* The fields of a plain packet, or 0. The end that the IP header gives must lie within
 * the frame: what it cuts off is not there. */
static __always_inline int read_plain(struct xdp_md *ctx, struct plain *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *ip = data + sizeof(struct ethhdr), *transport;
	__u32 type, room = end - ip;

	if (ip + 20 + PLAIN_TRANSPORT > end)
		return 0;
	type = *(__be16 *)(data + offsetof(struct ethhdr, h_proto));
	if (type == bpf_htons(ETH_P_IP)) {
		__u32 total = bpf_ntohs(*(__be16 *)(ip + 2));

		if (*(__u8 *)ip != PLAIN_IPV4 || *(__be16 *)(ip + 6) & bpf_htons(IPV4_FRAGMENT))
			return 0;
		if (total < 20 + PLAIN_TRANSPORT || total > room)
			return 0;
		p->family = FAMILY_IPV4;
		p->protocol = *(__u8 *)(ip + 9);
		p->source = ip + IPV4_SOURCE;
		transport = ip + 20;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		__u32 payload = bpf_ntohs(*(__be16 *)(ip + 4));

		if (ip + 40 + PLAIN_TRANSPORT > end || *(__u8 *)ip >> 4 != 6)
			return 0;
		if (payload < PLAIN_TRANSPORT || payload > room - 40)
			return 0;
		p->family = FAMILY_IPV6;
		p->protocol = *(__u8 *)(ip + 6);
		p->source = ip + IPV6_SOURCE;
		transport = ip + 40;
	} else {
		return 0;
	}
	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP)
		return 0;
	p->source_port = bpf_ntohs(*(__be16 *)transport);
	p->port = bpf_ntohs(*(__be16 *)(transport + 2));
	p->flags = *(__u8 *)(transport + 13);
	return 1;
}

#endif
