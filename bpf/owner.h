/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What holds for an organisation as a whole: suspension, the rate of its openings, and
 * what became of them. Only TCP openings that an entry decides come here, never those of
 * strangers, so that a flood costs none of it.
 */
#ifndef XDPALLOW_OWNER_H
#define XDPALLOW_OWNER_H

#include "maps.h"
#include "verdict.h"

#define NSEC_PER_SEC 1000000000ull
#define MAX_TRIES 8

static __always_inline struct owner *owner_of(__u32 number)
{
	/* Entries without an owner share nothing that could be suspended or limited. */
	return number ? bpf_map_lookup_elem(&owners, &number) : NULL;
}

static __always_inline int is_owner_suspended(__u32 number)
{
	struct owner *owner = owner_of(number);

	return owner && owner->flags & OWNER_SUSPENDED;
}

/*
 * The generic cell rate algorithm (ITU-T I.371): one word, no lock. An owner that has
 * used up his burst is refused without a write, so that a flood under his addresses
 * does not take the word from the CPUs that serve him.
 */
static __always_inline int is_over_rate(__u32 number)
{
	struct owner *owner = owner_of(number);
	__u64 now, due, start;

	if (!owner || !owner->interval)
		return 0;
	now = bpf_ktime_get_boot_ns();
	for (int i = 0; i < MAX_TRIES; i++) {
		due = READ_ONCE(owner->due);
		start = due > now ? due : now;
		if (start - now > owner->burst)
			return 1;
		if (dry ||
		    __sync_val_compare_and_swap(&owner->due, due, start + owner->interval) == due)
			return 0;
	}
	/* So many CPUs at once, in a nanosecond or two, are no customer. */
	return 1;
}

/* Charges an owner with an opening and with what became of it. */
static __always_inline void account(__u32 number, enum reason reason, enum verdict verdict)
{
	struct openings *openings = bpf_map_lookup_elem(&openings_of, &number);
	__u64 *refused;
	__u32 at;

	if (!openings)
		return;
	if (reason == REASON_LISTED) {
		openings->passed++;
		openings->last_seen = bpf_ktime_get_boot_ns() / NSEC_PER_SEC;
		return;
	}
	at = reason == REASON_EXPIRED	      ? CHARGE_EXPIRED
	     : reason == REASON_WRONG_SERVICE ? CHARGE_WRONG_SERVICE
	     : reason == REASON_SUSPENDED     ? CHARGE_SUSPENDED
					      : CHARGE_RATE_LIMITED;
	refused = verdict == VERDICT_DROP ? openings->dropped : openings->audited;
	refused[BOUNDED(at, CHARGE_COUNT - 1)]++;
}

#endif
