/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One refused packet of many, for people who want to know who it is. The drop path pays
 * for one comparison; here, where nearly none come, the frame is read a second time
 * rather than what it said be kept for it.
 */
#ifndef XDPALLOW_SAMPLE_H
#define XDPALLOW_SAMPLE_H

#include "maps.h"
#include "parse.h"
#include "verdict.h"

#define WEYL 0x9e3779b1u /* 2^32 by the golden ratio, made odd */

/* How many of 2^32 refused packets are sampled. The daemon and other CPUs write it meanwhile. */
static __always_inline __u32 share(int near)
{
	return near ? READ_ONCE(current.sample_near) : READ_ONCE(current.sample);
}

/* Whether the packet with so many of its kind before it on this CPU is sampled. Spread
 * evenly, and with no period that a sender could step in with. */
static __always_inline int is_sampled(__u64 before, int near)
{
	return (__u32)before * WEYL < share(near);
}

/* A ring that is full has a reader who is late or dead: half as many from here on, or
 * each further packet would cost a lock that all CPUs share. */
static __always_inline struct event *next_event(int near)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__u32 zero = 0, now;
	__u64 *missed;

	if (event)
		return event;
	missed = bpf_map_lookup_elem(&lost, &zero);
	if (missed)
		++*missed;
	now = share(near);
	if (near && now > MIN_SAMPLED)
		WRITE_ONCE(current.sample_near, now >> 1);
	if (!near && now > MIN_SAMPLED)
		WRITE_ONCE(current.sample, now >> 1);
	return NULL;
}

/* Not inline, so that BTF, and so Go, knows what an event is. */
static __noinline void fill_event(struct event *event, enum verdict verdict, enum reason reason,
				  int near)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->time = bpf_ktime_get_boot_ns();
	event->weight = (1ull << 32) / share(near);
	event->verdict = verdict;
	event->reason = reason;
	event->near = near;
}

/* A global function, so that its registers are not the drop path's. */
__noinline int sample(struct xdp_md *ctx, enum verdict verdict, enum reason reason, int near)
{
	struct packet p = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.cursor.end = bpf_xdp_get_buff_len(ctx),
	};
	__u32 length = p.cursor.end;
	struct event *event = next_event(near);
	struct key source;

	if (!event)
		return 0;
	fill_event(event, verdict, reason, near);
	parse(ctx, &p);
	if (p.has_source) {
		read_source(&p, &source);
		__builtin_memcpy(event->source, source.address, sizeof(event->source));
	}
	event->interface = ctx->ingress_ifindex;
	event->length = length;
	event->port = p.port;
	/* Greater is an ethertype: the IP header was not read to its protocol. */
	if (p.family != FAMILY_OTHER && p.cursor.next <= 0xff)
		event->protocol = p.cursor.next;
	event->family = p.family;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
