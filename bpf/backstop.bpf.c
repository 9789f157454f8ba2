//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The second door: traffic that never met the XDP program (another NIC, a tunnel that
 * the host ends, a redirect in nftables, a SYN cookie) still has to find a socket. For
 * TCP this runs for new connections only, for UDP for each datagram to a socket that
 * is not connected; datagrams to broadcast and multicast addresses are given to all
 * sockets without a lookup. It decides by the tries and writes nothing but its counters
 * and ingress.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "source.h"
#include "verdict.h"

#define AF_INET 2
#define LOOPBACK4 127 /* the first byte */

struct endpoints {
	struct key remote;
	struct key local;
	enum family family;
	__u32 ifindex; /* by which the packet came in, as the stack sees it */
};

static __always_inline void read_endpoints(const struct bpf_sk_lookup *ctx, struct endpoints *e)
{
	e->ifindex = ctx->ingress_ifindex;
	if (ctx->family == AF_INET) {
		__u32 remote = ctx->remote_ip4, here = ctx->local_ip4;

		e->family = FAMILY_IPV4;
		e->remote.prefixlen = e->local.prefixlen = 32;
		__builtin_memcpy(e->remote.address, &remote, 4);
		__builtin_memcpy(e->local.address, &here, 4);
		return;
	}
	e->family = FAMILY_IPV6;
	e->remote.prefixlen = e->local.prefixlen = 128;
	for (int i = 0; i < 4; i++) {
		__u32 remote = ctx->remote_ip6[i], here = ctx->local_ip6[i];

		__builtin_memcpy(e->remote.address + 4 * i, &remote, 4);
		__builtin_memcpy(e->local.address + 4 * i, &here, 4);
	}
}

/* Is the remote address this namespace's own, for a packet that came in by the interface? */
static __always_inline int is_own(const struct endpoints *e, __u32 ifindex)
{
	struct local_key key = { .prefixlen = 8 * (sizeof(key.ifindex) + sizeof(key.address)),
				 .ifindex = ifindex };

	if (e->family == FAMILY_IPV4) {
		key.address[10] = key.address[11] = 0xff;
		__builtin_memcpy(key.address + 12, e->remote.address, 4);
	} else {
		__builtin_memcpy(key.address, e->remote.address, 16);
	}
	return bpf_map_lookup_elem(&local, &key) != NULL;
}

/*
 * Health checks, and a host that talks to itself by an address of its own: such
 * packets show the interface that has the address of the server and not lo. Refusing
 * them would take the API out of its own load balancer.
 *
 * The interface matters for link-local addresses: on another link somebody else may have
 * the same one, and he is answered there. An answer to any other own address stays in
 * the host, so whoever fakes one gets no connection.
 *
 * lo is an interface like others: a SYN proxy sends a stranger's SYN to a server on lo, and
 * a redirect leads there. What else is own on lo, the map says.
 */
static __always_inline int is_local(const struct endpoints *e)
{
	const __u32 *words = (const __u32 *)e->remote.address;
	const __u32 *here = (const __u32 *)e->local.address;

	if (e->family == FAMILY_IPV4 && e->remote.address[0] == LOOPBACK4)
		return 1;
	if (e->family == FAMILY_IPV6 && !words[0] && !words[1] && !words[2] &&
	    words[3] == bpf_htonl(1))
		return 1;
	if (words[0] == here[0] && words[1] == here[1] && words[2] == here[2] &&
	    words[3] == here[3])
		return 1;
	return is_own(e, 0) || is_own(e, e->ifindex);
}

static __always_inline void note_ingress(__u32 ifindex)
{
	__u64 *refusals = dry ? NULL : bpf_map_lookup_elem(&ingress, &ifindex);

	if (refusals)
		__sync_fetch_and_add(refusals, 1);
}

SEC("sk_lookup")
int backstop(struct bpf_sk_lookup *ctx)
{
	__u32 zero = 0, slot = 0, service;
	__u32 *busy = bpf_map_lookup_elem(&in_socket_lookup, &zero);
	const struct policy *rules = live_policy(&slot);
	__u16 port = ctx->local_port;
	struct endpoints e = {};
	enum verdict verdict;
	union answer answer;
	enum reason reason;

	if (!rules || (busy && READ_ONCE(*busy)))
		return SK_PASS;
	service = ctx->protocol == IPPROTO_TCP ? rules->tcp[port] : rules->udp[port];
	service &= NR_SERVICES - 1;
	if (!service)
		return SK_PASS;
	read_endpoints(ctx, &e);
	if (is_local(&e))
		return SK_PASS;
	answer.word = judge_source(&e.remote, slot, e.family, service, 0);
	reason = decided(answer.reason);
	verdict = judge(reason, rules, service);
	count(verdict, reason, e.family, 0);
	if (verdict != VERDICT_DROP)
		return SK_PASS;
	note_ingress(e.ifindex);
	return SK_DROP;
}
