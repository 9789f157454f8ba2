//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The least that a filter of SYNs can do: find the port and the flags of a plain TCP
 * packet, look the port up in a bitmap, drop. No tags, no fragments, no extension
 * headers, no counter, no list.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FLAGS 13
#define SYN 0x02
#define ACK 0x10

__u64 ports[65536 / 64];

SEC("xdp.frags")
int parse_drop(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *tcp;
	__u8 *ip = data + ETH_HLEN, protocol;
	__u16 type, port;

	if (ip + 20 > end)
		return XDP_PASS;
	type = *(__u16 *)(data + 12);
	if (type == bpf_htons(ETH_P_IP)) {
		protocol = ip[9];
		tcp = ip + (ip[0] & 0xf) * 4;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		protocol = ip[6];
		tcp = ip + 40;
	} else {
		return XDP_PASS;
	}
	if (protocol != IPPROTO_TCP || tcp + FLAGS + 1 > end)
		return XDP_PASS;
	port = bpf_ntohs(*(__u16 *)(tcp + 2));
	if ((tcp[FLAGS] & (SYN | ACK)) != SYN || !(ports[port >> 6] >> (port & 63) & 1))
		return XDP_PASS;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
