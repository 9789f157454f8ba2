/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Scope stray: does a segment belong to a connection? A handshake that began before
 * its source was removed ends normally; a SYN-cookie ACK that saw no SYN has no
 * socket, and to let it through would let it open one where no backstop refuses it.
 */
#ifndef XDPALLOW_SOCKET_H
#define XDPALLOW_SOCKET_H

#include "maps.h"
#include "parse.h"

/*
 * The lookup goes by the interface that the frame came in by. The stack may see another: the
 * bridge of a port, a VLAN, a bond. A socket that is bound to that one is not found here,
 * whether it listens or is open, and no helper asks in its place. So to see no listener
 * either says nothing of connections; nor does a listener of link-local peers, whose
 * connections are always bound.
 */
enum found {
	FOUND_NONE,
	FOUND_OPEN,
	FOUND_UNKNOWN, /* there may be one that cannot be seen */
};

static __always_inline int is_link_local_source(enum family family,
						const struct bpf_sock_tuple *tuple)
{
	return family == FAMILY_IPV6 &&
	       (tuple->ipv6.saddr[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Which socket of this namespace the IP header at network and the ports, both in network
 * byte order, name. One that listens is none. */
__noinline enum found find_socket(struct xdp_md *ctx, __u32 network, enum family family,
				  __be16 source_port, __be16 port)
{
	struct bpf_sock_tuple tuple = {};
	__u32 zero = 0, size, *busy;
	struct bpf_sock *socket;
	int open;
	long err;

	if (family == FAMILY_IPV4) {
		err = bpf_xdp_load_bytes(ctx, network + offsetof(struct iphdr, saddr),
					 &tuple.ipv4.saddr, 8);
		tuple.ipv4.sport = source_port;
		tuple.ipv4.dport = port;
		size = sizeof(tuple.ipv4);
	} else {
		err = bpf_xdp_load_bytes(ctx, network + offsetof(struct ipv6hdr, saddr),
					 tuple.ipv6.saddr, 32);
		tuple.ipv6.sport = source_port;
		tuple.ipv6.dport = port;
		size = sizeof(tuple.ipv6);
	}
	busy = bpf_map_lookup_elem(&in_socket_lookup, &zero);
	if (err || !busy)
		return FOUND_NONE;
	WRITE_ONCE(*busy, 1);
	socket = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	WRITE_ONCE(*busy, 0);
	if (!socket)
		return FOUND_UNKNOWN;
	open = socket->state != BPF_TCP_LISTEN;
	bpf_sk_release(socket);
	if (open)
		return FOUND_OPEN;
	return is_link_local_source(family, &tuple) ? FOUND_UNKNOWN : FOUND_NONE;
}

#endif
