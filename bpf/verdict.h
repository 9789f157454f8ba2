/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a reason to a verdict, and the one line that counts it; for both programs.
 */
#ifndef XDPALLOW_VERDICT_H
#define XDPALLOW_VERDICT_H

#include "maps.h"
#include "parse.h"

/* The live slot, once per run: a flip in between would mix two policies. */
static __always_inline const struct policy *live_policy(__u32 *slot)
{
	__u32 zero = 0;
	struct current *live = bpf_map_lookup_elem(&current, &zero);

	if (!live)
		return NULL; /* cannot be: an array has its element */
	*slot = live->slot & (SLOTS - 1);
	return bpf_map_lookup_elem(&policy, slot);
}

static __always_inline enum verdict judge(enum reason reason, const struct policy *policy,
					  __u32 service)
{
	if (PASS_REASONS >> (reason & (REASON_ROOM - 1)) & 1)
		return VERDICT_PASS;
	return policy->services[BOUNDED(service, SERVICES - 1)].refusal;
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

#endif
