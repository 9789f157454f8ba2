//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The gate at the NIC. Each frame gets one reason; reason and mode give the verdict; the
 * verdict is counted once and acted upon once. Nearly every packet is done in fast_path,
 * most of them at their port, before any source is looked up.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "decide.h"
#include "plain.h"
#include "sample.h"

static __always_inline __u64 answer_of(enum reason reason, __u32 service, __u32 family,
				       const struct question *q)
{
	union answer answer = {
		.reason = reason,
		.service = service,
		.family = family,
		.near = !!q->near,
		.owner = q->owner,
	};

	return answer.word;
}

/* Decides any packet. A global function, so that its registers are not the drop path's. */
__noinline __u64 slow_path(struct xdp_md *ctx, __u32 slot)
{
	struct packet p = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.cursor.end = bpf_xdp_get_buff_len(ctx),
	};
	struct question q = { .policy = bpf_map_lookup_elem(&policy, &slot), .slot = slot };
	__u32 service = 0, reason;

	if (!q.policy)
		return (union answer){ .reason = REASON_MALFORMED }.word; /* cannot be */
	reason = decide(ctx, &p, &q, &service);
	return answer_of(reason, service, p.family, &q);
}

/* Decides the opening of a plain packet by the list alone. A flood whose sources are faked
 * near listed ones comes here. */
__noinline __u64 look_up_opening(struct xdp_md *ctx, __u32 slot, __u32 service, __u32 family)
{
	struct packet p = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.network = sizeof(struct ethhdr),
		.family = family,
	};
	struct question q = { .slot = slot };
	__u32 reason = look_up_source(&p, &q, service, 1);

	return answer_of(reason, service, family, &q);
}

/* Counts the frame, samples it perhaps, and acts. */
static __always_inline int finish(struct xdp_md *ctx, enum verdict verdict, enum reason reason,
				  __u32 family, __u32 near)
{
	__u64 before = count(verdict, reason, family, bpf_xdp_get_buff_len(ctx));
	int action = verdict == VERDICT_DROP ? XDP_DROP : XDP_PASS;

	if (dry)
		return (union answer){ .action = action, .verdict = verdict, .reason = reason }
			.word;
	if (verdict != VERDICT_PASS) {
		near = near && reason == REASON_NOT_LISTED;
		if (is_sampled(before, near))
			sample(ctx, verdict, reason, near);
	}
	return action;
}

/* What the fast path makes of a packet. */
enum fast_path {
	FAST_DONE,    /* *action says what becomes of it */
	FAST_OPENING, /* an opening that the list must decide: look_up_opening */
	FAST_NONE,    /* anything else: slow_path */
};

/*
 * Finishes a plain packet that needs no list: one to a port that nobody guards, one of an
 * open connection, or nearly any of a flood. Its rules are those of decide, in the same
 * order. Each has a call of finish with constants of its own: to share one would cost a
 * drop 15 % more.
 */
static __always_inline enum fast_path fast_path(struct xdp_md *ctx, const struct policy *policy,
						__u32 slot, const struct plain *p,
						enum family family, __u32 *service, int *action)
{
	__u32 guarded = policy->tcp[BOUNDED(p->port, 0xffff)] & (NR_SERVICES - 1);
	const struct service *s = &policy->services[guarded];
	__u32 flags;

	*service = guarded;
	/* decide: the port alone decides. */
	if (!guarded) {
		*action = finish(ctx, VERDICT_PASS, REASON_OTHER_PORT, family, 0);
		return FAST_DONE;
	}
	/* decide: REASON_SOURCE_PORT_ZERO. */
	if (!p->source_port)
		return FAST_NONE;
	/* decide_segment: segments of open connections. */
	flags = p->flags & (TCP_SYN | TCP_ACK);
	if (flags != TCP_SYN) {
		if (!flags || s->scope != SCOPE_SYN)
			return FAST_NONE;
		*action = finish(ctx, VERDICT_PASS, REASON_NOT_OPENING, family, 0);
		return FAST_DONE;
	}
	/* look_up_source: the coarse level. */
	if (s->refusal != VERDICT_DROP || !is_surely_unlisted(slot, *(__be32 *)p->source, family))
		return FAST_OPENING;
	*action = finish(ctx, VERDICT_DROP, REASON_NOT_LISTED, family, 0);
	return FAST_DONE;
}

/* Finishes what slow_path or look_up_opening decided. */
static __always_inline int finish_answer(struct xdp_md *ctx, const struct policy *policy,
					 __u64 word)
{
	union answer answer = { .word = word };
	enum reason reason = decided(answer.reason);
	enum verdict verdict = judge(reason, policy, answer.service);

	if (answer.owner)
		account(answer.owner, reason, verdict);
	return finish(ctx, verdict, reason, answer.family, answer.near);
}

SEC("xdp.frags")
int xdpallow(struct xdp_md *ctx)
{
	__u32 slot, service = 0, family = FAMILY_IPV4;
	enum fast_path path = FAST_NONE;
	const struct policy *policy;
	int action = XDP_PASS;
	struct plain p;

	policy = live_policy(&slot);
	if (!policy)
		return XDP_PASS; /* cannot be, and then we guard nothing */
	if (read_plain4(ctx, &p)) {
		path = fast_path(ctx, policy, slot, &p, FAMILY_IPV4, &service, &action);
	} else if (read_plain6(ctx, &p)) {
		family = FAMILY_IPV6;
		path = fast_path(ctx, policy, slot, &p, FAMILY_IPV6, &service, &action);
	}
	if (path == FAST_DONE)
		return action;
	return finish_answer(ctx, policy,
			     path == FAST_OPENING ? look_up_opening(ctx, slot, service, family)
						  : slow_path(ctx, slot));
}

/* The gate of interfaces with ip_first, where nothing lies at the offsets of plain.h. To ask
 * for that in the other program would cost each of its drops a nanosecond. */
SEC("xdp.frags")
int xdpallow_ip(struct xdp_md *ctx)
{
	const struct policy *policy;
	__u32 slot;

	policy = live_policy(&slot);
	if (!policy)
		return XDP_PASS; /* likewise */
	return finish_answer(ctx, policy, slow_path(ctx, slot));
}
