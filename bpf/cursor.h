/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How the parser walks: a cursor over the frame, and what it finds. Nothing here calls
 * a BPF helper, so that the same lines run natively under ASan.
 */
#ifndef XDPALLOW_CURSOR_H
#define XDPALLOW_CURSOR_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif

#define UNDECIDED REASON_ROOM

/* 6.1 forgets the bound of a value that was kept on the stack, and the compiler leaves
 * out a mask that it knows to change nothing: this one stays. */
#define BOUNDED(value, mask)                                                                       \
	({                                                                                         \
		__u32 bounded = (value);                                                           \
		barrier_var(bounded);                                                              \
		(bounded & (mask));                                                                \
	})

/* Where the walk is; scalars only, so that it can cross into global functions. */
struct cursor {
	__u32 at;	/* offset of the next header in the frame */
	__u32 end;	/* offset where the packet ends: the frame, or what IP cuts off */
	__u32 next;	/* what the next header is: ethertype or protocol */
	__u32 fragment; /* enum fragment */
};

/* What the IP header says of what it carries. */
enum fragment {
	FRAGMENT_NONE,
	FRAGMENT_FIRST, /* begins with the headers above IP */
	FRAGMENT_LATER, /* begins anywhere */
};

/* No walk within our bounds gets further than this mask; it tells the verifier so. */
#define MAX_CURSOR 0x7fff

/* Scalars only, and never handed on by address: else the compiler keeps it on the
 * stack, and every step of the walk is a store and a load. */
struct packet {
	void *data;
	void *data_end;
	struct cursor cursor;
	__u32 network; /* offset of the IP header */
	__u32 options; /* offset of the IPv4 options */
	__u32 options_length;
	__u16 source_port;
	__u16 port;
	__u8 family;
	__u8 flags; /* of TCP */
	__u8 has_flags;
	__u8 has_source; /* see read_source */
};

/* The next size bytes of the packet, or NULL where it has no such bytes. */
static __always_inline void *peek(void *data, void *data_end, const struct cursor *c, __u32 size)
{
	void *header = data + BOUNDED(c->at, MAX_CURSOR);

	if (header + size > data_end || c->at + size > c->end)
		return NULL;
	return header;
}

#endif
