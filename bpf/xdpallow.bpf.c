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
#include "verdict.h"
#include "parse.h"
#include "options.h"
#include "source.h"
#include "prefilter.h"
#include "strict.h"
#include "socket.h"

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

/* judge_source, and the prefilter before it, which ends nearly every flood. */
static __always_inline enum reason look_up_source(const struct packet *p, const struct policy *policy,
						  __u32 slot, __u32 service, __u32 bookkeep)
{
	__u32 family = p->family == FAMILY_IPV6;
	struct key source;

	read_source(p, &source);
	if (policy->prefilter[family].near &&
	    (!is_near(policy, slot, &source, p->family) ||
	     !may_cover(&source, slot, p->family, policy->prefilter[family].exact)))
		return REASON_NOT_LISTED;
	return judge_source(&source, slot, p->family, service, bookkeep);
}

/* A segment that opens nothing, to a protected port. */
static __always_inline enum reason decide_segment(struct xdp_md *ctx, struct packet *p,
						  const struct policy *policy, __u32 slot, __u32 service)
{
	enum scope scope = policy->services[BOUNDED(service, SERVICES - 1)].scope;
	enum reason reason;

	/* Segments of open connections are nearly all of the traffic: no lookup. */
	if (scope == SCOPE_SYN)
		return REASON_NOT_OPENING;
	reason = look_up_source(p, policy, slot, service, 0);
	if (reason == REASON_LISTED)
		return reason;
	if (scope == SCOPE_STRICT)
		return REASON_NOT_LISTED;
	return has_socket(ctx, p->network, p->family, bpf_htons(p->source_port), bpf_htons(p->port)) ?
		       REASON_NOT_OPENING :
		       REASON_STRAY;
}

/*
 * Why this frame may or may not pass. *service is the service whose mode decides,
 * 0 where no port was read.
 */
static __always_inline enum reason decide(struct xdp_md *ctx, struct packet *p,
					  const struct policy *policy, __u32 slot, __u32 *service)
{
	enum reason finding = parse(ctx, p), reason;
	int tcp = p->cursor.next == IPPROTO_TCP, routed = finding >= REASON_MALFORMED && tcp;
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
	if (finding < REASON_MALFORMED) {
		if (policy->services[0].scope != SCOPE_STRICT)
			return finding;
		finding = look_closer(p, finding, policy, service);
		if (finding < REASON_MALFORMED)
			return finding;
		routed = 0;
	}
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
				return decide_segment(ctx, p, policy, slot, *service);
		}
	}
	/* A source that was not reached cannot be listed. */
	if (!p->has_source)
		return finding;
	reason = look_up_source(p, policy, slot, *service, opening);
	if (reason == REASON_LISTED || finding == UNDECIDED)
		return reason;
	return finding;
}

SEC("xdp.frags")
int xdpallow(struct xdp_md *ctx)
{
	struct packet p = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.cursor.end = bpf_xdp_get_buff_len(ctx),
	};
	__u32 slot = 0, service = 0, length = p.cursor.end;
	const struct policy *rules = live_policy(&slot);
	enum verdict verdict;
	enum reason reason;
	int action;

	if (!rules)
		return XDP_PASS; /* cannot be, and then we guard nothing */

	reason = decide(ctx, &p, rules, slot, &service);
	verdict = judge(reason, rules, service);
	count(verdict, reason, p.family, length);
	action = verdict == VERDICT_DROP ? XDP_DROP : XDP_PASS;
	if (dry)
		return action | verdict << 8 | reason << 16;
	return action;
}

#include "backstop.h"

char _license[] SEC("license") = "Dual BSD/GPL";
