/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a packet passes or not, by all the rules of README.md. Every packet can be decided
 * here; fast_path in xdp.bpf.c repeats, for plain packets, the rules that need no list.
 */
#ifndef XDPALLOW_DECIDE_H
#define XDPALLOW_DECIDE_H

#include "maps.h"
#include "options.h"
#include "parse.h"
#include "prefilter.h"
#include "socket.h"
#include "source.h"
#include "strict.h"
#include "verdict.h"

/*
 * Scope strict also drops what no port leads to, and datagrams to the number of a
 * protected TCP port. Returns the reason to pass, a finding, or UNDECIDED with
 * *service where the source decides.
 */
static __always_inline enum reason classify_strict(const struct packet *p, enum reason finding,
						   const struct policy *policy, __u32 *service)
{
	__u32 guarded;

	if (finding == REASON_NOT_IP)
		return hidden_in_link(p);
	if (finding == REASON_OTHER_PROTOCOL)
		return hidden_in_ip(p);
	if (p->cursor.next != IPPROTO_UDP)
		return REASON_OTHER_PORT;
	guarded = policy->tcp[BOUNDED(p->port, 0xffff)] & (NR_SERVICES - 1);
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
	union answer answer;
	struct key source;

	read_source(p, &source);
	if (is_surely_unlisted(q->slot, *(__be32 *)source.address, p->family))
		return REASON_NOT_LISTED;
	if (prefilter->shift) {
		__u32 found = bloom_query(&source, q->slot, p->family, prefilter->fine_bits);

		q->near = found & HAS_NEIGHBOUR;
		if (!(found & MAY_COVER))
			return REASON_NOT_LISTED;
	}
	answer.word = judge_source(&source, q->slot, p->family, service, opening);
	q->owner = answer.owner;
	return answer.reason;
}

/* A segment that opens nothing, to a protected port. */
static __always_inline enum reason decide_segment(struct xdp_md *ctx, struct packet *p,
						  struct question *q, __u32 service)
{
	enum scope scope = q->policy->services[BOUNDED(service, NR_SERVICES - 1)].scope;
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
	if (socket == FOUND_OPEN || (socket == FOUND_UNKNOWN && READ_ONCE(current.backstop)))
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

		*service = (tcp ? policy->tcp[port] : policy->udp[port]) & (NR_SERVICES - 1);
		if (!*service)
			finding = REASON_OTHER_PORT;
		else
			routed = 1;
	}
	if (passes(finding)) {
		if (policy->services[0].scope != SCOPE_STRICT)
			return finding;
		finding = classify_strict(p, finding, policy, service);
		if (passes(finding))
			return finding;
		routed = 0;
	}
	/* From every source: the outer one may be faked, for nothing is sent back to it. */
	if (tunneled && !READ_ONCE(current.backstop))
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

#endif
