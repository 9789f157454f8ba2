/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Does an IPv4 header carry a source route? Asked only of packets that would
 * otherwise be judged by their source: with a source route the SYN-ACK goes where
 * the attacker says, and a faked listed source would open a connection.
 */
#ifndef XDPALLOW_OPTIONS_H
#define XDPALLOW_OPTIONS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_OPTIONS 40

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137

struct options {
	__u8 bytes[64]; /* a power of two, so that a mask is the bounds check */
	__u32 at;
	__u32 length;
	__u32 found;
};

static long next_option(__u32 index, struct options *o)
{
	__u32 at = o->at;
	__u8 type, length;

	if (at >= o->length)
		return 1;
	type = o->bytes[at & 63];
	if (type == OPTION_LOOSE_ROUTE || type == OPTION_STRICT_ROUTE) {
		o->found = 1;
		return 1;
	}
	if (type == OPTION_END)
		return 1;
	if (type == OPTION_NOP) {
		o->at = at + 1;
		return 0;
	}
	/* A bad length ends the walk; Linux refuses the packet for it. */
	length = o->bytes[(at + 1) & 63];
	if (length < 2)
		return 1;
	o->at = at + length;
	return 0;
}

/* Whether the length bytes of options at offset hold a source route. A global
 * function: walked inline over packet bytes, the verifier needs a million
 * instructions for it. */
__noinline int is_source_routed(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	struct options o = {};
	__u32 last = length - 1;

	/* 6.1 does not finish from "not 0" that a length is 1 at least, which
	 * the load needs. The compiler must not turn this back into that. */
	barrier_var(last);
	if (last >= MAX_OPTIONS)
		return 0;
	o.length = length = last + 1;
	/* Cannot fail, the parser has seen these bytes; if it does, what cannot be
	 * read cannot be trusted. */
	if (bpf_xdp_load_bytes(ctx, offset, o.bytes, length))
		return 1;
	bpf_loop(MAX_OPTIONS, next_option, &o, 0);
	return o.found;
}

#endif
