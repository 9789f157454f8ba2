/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Nearly every packet is plain: TCP, no tag, no IP option, no extension header, no
 * fragment. Its fields lie at fixed offsets, so it is read in registers, several of them
 * at once, and a flood costs little more than its parsing. Whatever is not plain is left
 * to the walk of parse.h: a mistake here that says "not plain" costs time and nothing else.
 */
#ifndef XDPALLOW_PLAIN_H
#define XDPALLOW_PLAIN_H

#include "parse.h"

#define PLAIN_TCP (TCP_FLAGS + 1) /* bytes of the TCP header that are there */

struct plain {
	void *source;
	__be16 source_port;
	__u16 port; /* host byte order */
	__u8 flags;
};

static __always_inline void read_tcp(struct plain *p, void *tcp)
{
	p->source_port = *(__be16 *)tcp;
	p->port = bpf_ntohs(*(__be16 *)(tcp + offsetof(struct tcphdr, dest)));
	p->flags = *(__u8 *)(tcp + TCP_FLAGS);
}

/* The fields of a plain IPv4 packet, or 0. The end that its header gives must lie within
 * the frame: what it cuts off is not there. */
static __always_inline int read_plain4(struct xdp_md *ctx, struct plain *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *ip = data + sizeof(struct ethhdr), *tcp = ip + sizeof(struct iphdr);
	__u32 total;

	if (tcp + PLAIN_TCP > end)
		return 0;
	/* Ethertype, version and header length; the type of service is no matter. */
	if ((*(__be32 *)(ip - 2) & bpf_htonl(0xffffff00)) != bpf_htonl(ETH_P_IP << 16 | 0x4500))
		return 0;
	/* No fragment, and the protocol; the time to live between them is no matter. */
	if ((*(__be32 *)(ip + offsetof(struct iphdr, frag_off)) &
	     bpf_htonl(IPV4_FRAGMENT << 16 | 0xff)) != bpf_htonl(IPPROTO_TCP))
		return 0;
	total = bpf_ntohs(*(__be16 *)(ip + offsetof(struct iphdr, tot_len)));
	if (total < sizeof(struct iphdr) + PLAIN_TCP || total > (__u32)(end - ip))
		return 0;
	p->source = ip + offsetof(struct iphdr, saddr);
	read_tcp(p, tcp);
	return 1;
}

/* Likewise of IPv6. */
static __always_inline int read_plain6(struct xdp_md *ctx, struct plain *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *ip = data + sizeof(struct ethhdr), *tcp = ip + sizeof(struct ipv6hdr);
	__u32 payload;

	if (tcp + PLAIN_TCP > end)
		return 0;
	/* Ethertype and version; class and flow label are no matter. */
	if ((*(__be32 *)(ip - 2) & bpf_htonl(0xfffff000)) !=
	    bpf_htonl((__u32)ETH_P_IPV6 << 16 | 0x6000))
		return 0;
	if (*(__u8 *)(ip + offsetof(struct ipv6hdr, nexthdr)) != IPPROTO_TCP)
		return 0;
	payload = bpf_ntohs(*(__be16 *)(ip + offsetof(struct ipv6hdr, payload_len)));
	if (payload < PLAIN_TCP || payload > (__u32)(end - tcp))
		return 0;
	p->source = ip + offsetof(struct ipv6hdr, saddr);
	read_tcp(p, tcp);
	return 1;
}

#endif
