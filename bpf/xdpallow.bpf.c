//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The gate. Each frame gets one reason; reason and mode give the verdict; the
 * verdict is counted once and acted upon once. One pass:
 *
 *	parse -> decide -> count -> maybe sample -> act
 *
 * Most traffic leaves at the port, before any source is looked up.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"
#include "maps.h"
#include "verdict.h"
#include "parse.h"
#include "plain.h"
#include "options.h"
#include "source.h"
#include "prefilter.h"
#include "strict.h"
#include "socket.h"
#include "sample.h"

/*
 * Scope strict also drops what no port leads to, and datagrams to the number of a
 * protected TCP port. Returns the reason to pass, a finding, or UNDECIDED with
 * *service where the source decides.
 */
static __always_inline enum reason look_closer(const struct packet *p, enum reason finding,
					       const struct policy *policy, __u32 *service)
{
	__u32 guarded;

	if (finding == REASON_NOT_IP)
		return hidden_in_link(p);
	if (finding == REASON_OTHER_PROTOCOL)
		return hidden_in_ip(p);
	if (p->cursor.next != IPPROTO_UDP)
		return REASON_OTHER_PORT;
	guarded = policy->tcp[BOUNDED(p->port, 0xffff)] & (SERVICES - 1);
	if (guarded && policy->services[guarded].scope == SCOPE_STRICT) {
		*service = guarded;
		return UNDECIDED;
	}
	if (is_tunnel_port(p->port))
		return REASON_TUNNEL;
	return p->cursor.fragment ? REASON_OTHER_PROTOCOL : REASON_OTHER_PORT;
}

/* What is asked of the list, and what it answers beside a reason. */
struct question {
	const struct policy *policy;
	__u32 slot;
	__u32 near;  /* the source has a listed neighbour */
	__u32 owner; /* to be charged with the opening; 0 is nobody */
};

static __always_inline enum reason look_up_source(const struct packet *p, struct question *q,
						  __u32 service, __u32 opening)
{
	const struct prefilter *prefilter = sizes(q->slot, p->family);
	union standing standing;
	struct key source;

	read_source(p, &source);
	if (is_far(q->slot, *(__be32 *)source.address, p->family))
		return REASON_NOT_LISTED;
	if (prefilter->shift) {
		__u32 found = look_around(&source, q->slot, p->family, prefilter->exact);

		q->near = found & HAS_NEIGHBOUR;
		if (!(found & MAY_COVER))
			return REASON_NOT_LISTED;
	}
	standing.word = judge_source(&source, q->slot, p->family, service, opening);
	q->owner = standing.owner;
	return standing.reason;
}

/* A segment that opens nothing, to a protected port. */
static __always_inline enum reason decide_segment(struct xdp_md *ctx, struct packet *p,
						  struct question *q, __u32 service)
{
	enum scope scope = q->policy->services[BOUNDED(service, SERVICES - 1)].scope;
	/* Every segment of a connection has ACK, or resets it. What has neither is a scan,
	 * to which a listener is silent; the backstop hides the listener, and so would draw
	 * a reset. */
	int scan = !(p->flags & (TCP_ACK | TCP_RST));
	enum found socket = FOUND_NONE;
	enum reason reason;

	/* Segments of open connections are nearly all of the traffic: no lookup. */
	if (scope == SCOPE_SYN && !scan)
		return REASON_NOT_OPENING;
	reason = look_up_source(p, q, service, 0);
	if (reason == REASON_LISTED)
		return reason;
	if (scope != SCOPE_STRAY)
		return REASON_NOT_LISTED;
	if (!scan)
		socket = find_socket(ctx, p->network, p->family, bpf_htons(p->source_port),
				     bpf_htons(p->port));
	/* Cutting connections off is worse than a stray segment that the stack answers with a
	 * reset; one that could open a connection is the worst, and the backstop's. */
	if (socket == FOUND_OPEN || (socket == FOUND_UNKNOWN && current.backstop))
		return REASON_NOT_OPENING;
	return REASON_STRAY;
}

/*
 * Why this frame may or may not pass. *service is the service whose mode decides,
 * 0 where no port was read.
 */
static __always_inline enum reason decide(struct xdp_md *ctx, struct packet *p, struct question *q,
					  __u32 *service)
{
	const struct policy *policy = q->policy;
	enum reason finding = parse(ctx, p), reason;
	int tcp = p->cursor.next == IPPROTO_TCP,
	    routed = finding != UNDECIDED && !passes(finding) && tcp;
	int tunneled = finding == REASON_TUNNEL; /* which the host takes out without a device */
	__u32 opening = 0;

	if (finding == UNDECIDED) {
		/* The port alone decides, never the destination address or MAC:
		 * weak host model, link-local, route_localnet and SRv6 all lead
		 * other addresses to the same socket. */
		__u32 port = BOUNDED(p->port, 0xffff);

		*service = (tcp ? policy->tcp[port] : policy->udp[port]) & (SERVICES - 1);
		if (!*service)
			finding = REASON_OTHER_PORT;
		else
			routed = 1;
	}
	if (passes(finding)) {
		if (policy->services[0].scope != SCOPE_STRICT)
			return finding;
		finding = look_closer(p, finding, policy, service);
		if (passes(finding))
			return finding;
		routed = 0;
	}
	/* From every source: the outer one may be faked, for nothing is sent back to it. */
	if (tunneled && !current.backstop)
		return REASON_TUNNEL;
	/* From every source. Where no port was read it could be ours. */
	if (routed && p->options_length && is_source_routed(ctx, p->options, p->options_length))
		return REASON_SOURCE_ROUTE;
	if (finding == UNDECIDED && tcp) {
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
				return decide_segment(ctx, p, q, *service);
		}
	}
	/* A source that was not reached cannot be listed. */
	if (!p->has_source)
		return finding;
	reason = look_up_source(p, q, *service, opening);
	if (reason == REASON_LISTED || finding == UNDECIDED)
		return reason;
	return finding;
}

/* What is concluded from, in a word that a global function can return. */
union answer {
	struct {
		__u8 reason;
		__u8 service;
		__u8 family;
		__u8 near;
		__u16 owner;
	};
	__u64 word;
};

static __always_inline __u64 answer(enum reason reason, __u32 service, __u32 family,
				    const struct question *q)
{
	union answer a = {
		.reason = reason,
		.service = service,
		.family = family,
		.near = !!q->near,
		.owner = q->owner,
	};

	return a.word;
}

/* Judges any packet. A global function, so that its registers are not the drop path's. */
__noinline __u64 walk(struct xdp_md *ctx, __u32 slot)
{
	struct packet p = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.cursor.end = bpf_xdp_get_buff_len(ctx),
	};
	struct question q = { .policy = bpf_map_lookup_elem(&policy, &slot), .slot = slot };
	__u32 service = 0, reason;

	if (!q.policy)
		return REASON_MALFORMED; /* cannot be: the caller found it */
	reason = decide(ctx, &p, &q, &service);
	return answer(reason, service, p.family, &q);
}

/* Likewise the opening of a plain packet, which needs the list and no walk: a flood whose
 * sources are faked near listed ones comes here. */
__noinline __u64 look_up_plain(struct xdp_md *ctx, __u32 slot, __u32 service, __u32 family)
{
	struct packet p = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.network = sizeof(struct ethhdr),
		.family = family,
	};
	struct question q = { .slot = slot };
	__u32 reason = look_up_source(&p, &q, service, 1);

	return answer(reason, service, family, &q);
}

/* Counts the frame, samples it perhaps, and acts. */
static __always_inline int conclude(struct xdp_md *ctx, enum verdict verdict, enum reason reason,
				    __u32 family, __u32 near)
{
	__u64 before = count(verdict, reason, family, bpf_xdp_get_buff_len(ctx));
	int action = verdict == VERDICT_DROP ? XDP_DROP : XDP_PASS;

	if (dry)
		return action | verdict << 8 | reason << 16;
	if (verdict != VERDICT_PASS) {
		near = near && reason == REASON_NOT_LISTED;
		if (is_sampled(before, near))
			sample(ctx, verdict, reason, near);
	}
	return action;
}

#define UNSETTLED -1 /* it must be walked */
#define NEARBY -2    /* an opening whose source is not far */

/*
 * The action for a plain packet that needs no list: of a port that nobody guards, of an
 * open connection, or of nearly all of a flood. By the rules of decide, each with a
 * conclusion of constants of its own: sharing one costs a drop 15 % more.
 */
static __always_inline int conclude_plain(struct xdp_md *ctx, const struct policy *policy,
					  __u32 slot, const struct plain *p, enum family family,
					  __u32 *protecting)
{
	__u32 service = policy->tcp[BOUNDED(p->port, 0xffff)] & (SERVICES - 1);
	const struct service *s = &policy->services[service];
	__u32 flags;

	*protecting = service;
	if (!service)
		return conclude(ctx, VERDICT_PASS, REASON_OTHER_PORT, family, 0);
	if (!p->source_port)
		return UNSETTLED;
	flags = p->flags & (TCP_SYN | TCP_ACK);
	if (flags != TCP_SYN) {
		if (!flags || s->scope != SCOPE_SYN)
			return UNSETTLED;
		return conclude(ctx, VERDICT_PASS, REASON_NOT_OPENING, family, 0);
	}
	if (s->refusal != VERDICT_DROP || !is_far(slot, *(__be32 *)p->source, family))
		return NEARBY;
	return conclude(ctx, VERDICT_DROP, REASON_NOT_LISTED, family, 0);
}

/* Concludes from what walk or look_up_plain answered. */
static __always_inline int conclude_answer(struct xdp_md *ctx, const struct policy *policy,
					   __u64 word)
{
	union answer a = { .word = word };
	enum reason reason = decided(a.reason);
	enum verdict verdict = judge(reason, policy, a.service);

	if (a.owner)
		charge(a.owner, reason, verdict);
	return conclude(ctx, verdict, reason, a.family, a.near);
}

SEC("xdp.frags")
int xdpallow(struct xdp_md *ctx)
{
	__u32 slot, service = 0, family = FAMILY_IPV4;
	const struct policy *policy;
	int action = UNSETTLED;
	struct plain p;

	policy = live_policy(&slot);
	if (!policy)
		return XDP_PASS; /* cannot be, and then we guard nothing */
	if (read_plain4(ctx, &p)) {
		action = conclude_plain(ctx, policy, slot, &p, FAMILY_IPV4, &service);
	} else if (read_plain6(ctx, &p)) {
		family = FAMILY_IPV6;
		action = conclude_plain(ctx, policy, slot, &p, FAMILY_IPV6, &service);
	}
	if (action >= 0)
		return action;
	return conclude_answer(ctx, policy,
			       action == NEARBY ? look_up_plain(ctx, slot, service, family)
						: walk(ctx, slot));
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
	return conclude_answer(ctx, policy, walk(ctx, slot));
}

#include "backstop.h"

char _license[] SEC("license") = "Dual BSD/GPL";
