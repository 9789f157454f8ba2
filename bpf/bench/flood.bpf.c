//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flood: a live test run makes frames out of nothing, and this gives each a source,
 * a port and a sequence number of its own and sends it out. Nothing else saturates a
 * veth. Frames are recycled with what was written, so all that varies is written anew.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#define TABLE (1 << 22)

/* IPv4 and TCP headers without options, in one piece. */
struct headers {
	__u8 ethernet[ETH_HLEN];
	__u8 before_checksum[10];
	__u16 ip_checksum;
	__u32 source, destination;
	__u16 source_port, port;
	__u32 sequence, acknowledged;
	__u16 flags, window, tcp_checksum;
} __attribute__((packed));

volatile const __u32 ifindex;
volatile const __u32 ip_sum, tcp_sum; /* of the frame without what varies */

__u64 sources[TABLE / 8];
__u32 at;
__u64 sent;

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	struct headers *h = (void *)(long)ctx->data;
	__u32 i = at, source;
	__u64 varies;

	if ((void *)(h + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	at = i + 1;
	barrier_var(i);
	source = ((__u32 *)sources)[i & (TABLE / 4 - 1)];
	varies = (source & 0xffff) + (source >> 16);
	h->source = source;
	h->ip_checksum = fold(ip_sum + varies);
	h->source_port = i * 31 | 4;
	h->sequence = i;
	h->tcp_checksum = fold(tcp_sum + varies + h->source_port + (i & 0xffff) + (i >> 16));
	sent++;
	return bpf_redirect(ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
