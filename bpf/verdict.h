/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a reason to a verdict, and the one line that counts it; for both programs.
 */
#ifndef XDPALLOW_VERDICT_H
#define XDPALLOW_VERDICT_H

#include "maps.h"
#include "parse.h"

/* The live slot, once per run: a flip in between would mix two policies. NULL cannot be:
 * an array has its elements. */
static __always_inline const struct policy *live_policy(__u32 *slot)
{
	*slot = READ_ONCE(current.slot) & (NR_SLOTS - 1);
	return bpf_map_lookup_elem(&policy, slot);
}

/* What happens to a refused packet. An audit that was given an end ends with it though
 * the daemon be dead: nobody may forget the gate open. */
static __always_inline enum verdict refusal(const struct service *s)
{
	if (s->refusal == VERDICT_AUDIT && s->audit_until &&
	    s->audit_until <= bpf_ktime_get_boot_ns())
		return VERDICT_DROP;
	return s->refusal;
}

static __always_inline int passes(__u32 reason)
{
	return reason < REASON_ROOM && PASS_REASONS >> reason & 1;
}

_Static_assert(UNDECIDED >= REASON_ROOM, "it is no reason, and must not pass");

/* A judgement that came to no end has cleared nothing. */
static __always_inline enum reason decided(__u32 reason)
{
	return reason < REASON_COUNT ? reason : REASON_MALFORMED;
}

static __always_inline enum verdict judge(__u32 reason, const struct policy *policy, __u32 service)
{
	if (passes(reason))
		return VERDICT_PASS;
	return refusal(&policy->services[BOUNDED(service, NR_SERVICES - 1)]);
}

/* Counts, and returns how many there were before, of this kind and on this CPU. A count
 * that fails is lost; the verdict stands. */
static __always_inline __u64 count(enum verdict verdict, enum reason reason, __u32 family,
				   __u64 bytes)
{
	__u32 series = (verdict * REASON_ROOM + reason) * FAMILY_COUNT + family;
	struct counter *counter = bpf_map_lookup_elem(&counters, &series);

	if (!counter)
		return 0;
	counter->bytes += bytes;
	return counter->packets++;
}

#endif
