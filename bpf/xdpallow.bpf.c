//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The gate. Each frame gets one reason; reason and mode give the verdict; the
 * verdict is counted once and acted upon once. One pass, one exit:
 *
 *	parse -> decide -> count -> act
 *
 * Most traffic leaves at the port, before any source is looked up.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"
#include "maps.h"
#include "parse.h"
#include "options.h"
#include "source.h"

/*
 * Why this frame may or may not pass. *service is the service whose mode decides,
 * 0 where no port was read.
 */
static __always_inline enum reason decide(struct xdp_md *ctx, struct packet *p,
					  const struct policy *policy, __u32 slot, __u32 *service)
{
	enum reason finding = parse(ctx, p), reason;
	__u32 opening = 0;

	if (finding < REASON_MALFORMED)
		return finding;
	if (finding == UNDECIDED) {
		int tcp = p->cursor.next == IPPROTO_TCP;
		__u32 port = p->port, guarded;

		/* 6.1 forgets the bound of a value that was kept on the stack, and
		 * the compiler would leave out a mask that changes nothing. */
		barrier_var(port);
		port &= 0xffff;
		guarded = tcp ? policy->tcp[port] : policy->udp[port];
		/* The port alone decides, never the destination address or MAC:
		 * weak host model, link-local, route_localnet and SRv6 all lead
		 * other addresses to the same socket. */
		if (!guarded)
			return REASON_OTHER_PORT;
		*service = guarded & (SERVICES - 1);
	}
	/* From every source. Where no port was read it could be ours. */
	if (p->options_length && is_source_routed(ctx, p->options, p->options_length))
		return REASON_SOURCE_ROUTE;
	if (finding == UNDECIDED && p->cursor.next == IPPROTO_TCP) {
		/* From every source: accept() fails on it, which has killed
		 * servers, and no real client sends it. */
		if (!p->source_port)
			return REASON_SOURCE_PORT_ZERO;
		if (!p->has_flags) {
			*service = 0;
			finding = REASON_MALFORMED;
		} else {
			/* The two bits alone: ECN, PSH, URG, data, TFO and MPTCP
			 * SYNs all open connections. */
			opening = (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
			if (!opening)
				return REASON_NOT_OPENING;
		}
	}
	/* A source that was not reached cannot be listed. */
	if (!p->has_source)
		return finding;
	reason = judge_source(&p->source, slot, p->family, *service, opening);
	if (reason == REASON_LISTED || finding == UNDECIDED)
		return reason;
	return finding;
}

static __always_inline enum verdict judge(enum reason reason, const struct policy *policy,
					  __u32 service)
{
	if (PASS_REASONS >> (reason & (REASON_ROOM - 1)) & 1)
		return VERDICT_PASS;
	return policy->services[service & (SERVICES - 1)].refusal;
}

/* A count that fails is lost; the verdict stands. */
static __always_inline void count(enum verdict verdict, enum reason reason, __u32 family,
				  __u64 bytes)
{
	__u32 series = (verdict * REASON_ROOM + reason) * FAMILY_COUNT + family;
	struct counter *counter = bpf_map_lookup_elem(&counters, &series);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

SEC("xdp.frags")
int xdpallow(struct xdp_md *ctx)
{
	struct packet p = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.cursor.end = bpf_xdp_get_buff_len(ctx),
	};
	__u32 zero = 0, slot, service = 0, length = p.cursor.end;
	struct current *live = bpf_map_lookup_elem(&current, &zero);
	const struct policy *rules;
	enum verdict verdict;
	enum reason reason;
	int action;

	if (!live)
		return XDP_PASS; /* cannot be: an array has its element */
	slot = live->slot & (SLOTS - 1);
	rules = bpf_map_lookup_elem(&policy, &slot);
	if (!rules)
		return XDP_PASS; /* cannot be, as above */

	reason = decide(ctx, &p, rules, slot, &service);
	verdict = judge(reason, rules, service);
	count(verdict, reason, p.family, length);
	action = verdict == VERDICT_DROP ? XDP_DROP : XDP_PASS;
	if (dry)
		return action | verdict << 8 | reason << 16;
	return action;
}

char _license[] SEC("license") = "Dual BSD/GPL";
