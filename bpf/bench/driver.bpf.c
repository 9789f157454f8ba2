//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A test run repeats one packet, and one packet's source is in the first-level cache
 * whatever structure is asked for it. So each repeat first gets a source of its own
 * from a table, and then the program under test by a tail call: the very object that
 * is shipped. What that costs is in every figure, the empty program's too.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TABLE (1 << 22) /* bytes; read in order, so that they are prefetched */
#define SOURCE4 (ETH_HLEN + 12)
#define SOURCE6 (ETH_HLEN + 8)
#define LENGTH_AND_FLAGS (ETH_HLEN + 20 + 12) /* of TCP in IPv4 */

__u64 sources[TABLE / 8];
__u32 at;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tested SEC(".maps");

SEC("xdp.frags")
int ipv4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 i = at / 4;

	if (data + SOURCE4 + 4 > end)
		return XDP_ABORTED;
	at += 4;
	barrier_var(i);
	*(__u32 *)(data + SOURCE4) = ((__u32 *)sources)[i & (TABLE / 4 - 1)];
	bpf_tail_call_static(ctx, &tested, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int ipv6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 i = at / 8;

	if (data + SOURCE6 + 16 > end)
		return XDP_ABORTED;
	at += 16;
	barrier_var(i);
	i &= TABLE / 8 - 2;
	__builtin_memcpy(data + SOURCE6, &sources[i], 8);
	__builtin_memcpy(data + SOURCE6 + 8, &sources[i + 1], 8);
	bpf_tail_call_static(ctx, &tested, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int empty(struct xdp_md *ctx)
{
	return XDP_DROP;
}

/* Drops our flood at sight, for no client sends a SYN without options: what is left of a
 * flood's cost to others when the filter costs nothing. */
SEC("xdp.frags")
int bare(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + LENGTH_AND_FLAGS + 2 > end)
		return XDP_PASS;
	return *(__be16 *)(data + LENGTH_AND_FLAGS) == bpf_htons(0x5002) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
