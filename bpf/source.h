/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Is a source listed? The LPM tries return the longest match only, and nothing is
 * flattened: when that entry has expired or lacks the service, the walk looks
 * again for a shorter one until an entry grants or none is left.
 *
 * So an add or a remove touches one key, and a dead daemon keeps nobody alive
 * past his time and cuts nobody off before it.
 */
#ifndef XDPALLOW_SOURCE_H
#define XDPALLOW_SOURCE_H

#include "maps.h"
#include "owner.h"

#define MAX_COVERING 129 /* /0 to /128 */

struct trie_search {
	struct key key;
	__u32 slot;
	enum family family;
	__u32 service;
	__u32 opening; /* of TCP, and in XDP: what limits and use are about */
	union answer answer;
};

/* The longest entry of at most key.prefixlen bits that covers the source. */
static __always_inline struct entry *longest(struct trie_search *w)
{
	void *trie = w->family == FAMILY_IPV4 ? bpf_map_lookup_elem(&allow4, &w->slot)
					      : bpf_map_lookup_elem(&allow6, &w->slot);

	return trie ? bpf_map_lookup_elem(trie, &w->key) : NULL;
}

/* UNDECIDED: the entry does not grant, a shorter one may. */
static __always_inline enum reason judge_entry(const struct entry *e, __u32 service)
{
	if (e->expires && e->expires <= bpf_ktime_get_boot_ns())
		return REASON_EXPIRED;
	if (!(e->services >> (service & 31) & 1))
		return REASON_WRONG_SERVICE;
	/* Final, though a shorter entry might grant: who was suspended by name
	 * must not come in by the prefix around him. */
	if (e->flags & ENTRY_SUSPENDED || is_owner_suspended(e->owner))
		return REASON_SUSPENDED;
	return REASON_LISTED;
}

static __always_inline int is_final(enum reason reason)
{
	return reason == REASON_LISTED || reason == REASON_SUSPENDED;
}

/* For entries that people read, not for the verdict: at most one write a second
 * to last_seen, so that a busy customer's cache line stays put. */
static __always_inline void note_opening(struct entry *e)
{
	__u32 now = bpf_ktime_get_boot_ns() / NSEC_PER_SEC;

	__sync_fetch_and_add(&e->hits, 1);
	if (READ_ONCE(e->last_seen) != now)
		WRITE_ONCE(e->last_seen, now);
}

/* The answer of e, the entry that decides. The rate of its owner can still refuse an
 * opening. A shadow program notes and charges nothing. */
static __always_inline union answer apply_limit(struct entry *e, enum reason reason, __u32 opening)
{
	if (opening && reason == REASON_LISTED && is_over_rate(e->owner))
		reason = REASON_RATE_LIMITED;
	if (!opening || dry)
		return (union answer){ .reason = reason };
	if (reason == REASON_LISTED)
		note_opening(e);
	return (union answer){ .reason = reason, .owner = e->owner };
}

static long try_shorter(__u32 index, struct trie_search *w)
{
	struct entry *e = longest(w);
	enum reason reason;

	if (!e)
		return 1;
	reason = judge_entry(e, w->service);
	if (is_final(reason)) {
		w->answer = apply_limit(e, reason, w->opening);
		return 1;
	}
	if (!e->length)
		return 1;
	w->key.prefixlen = e->length - 1;
	return 0;
}

/*
 * How the source stands: REASON_LISTED, or why it is not listed for the service; service
 * 0 asks for any. An opening is to be charged to the owner of the entry that decides, and
 * is noted by the one that grants. A global function, so that the verifier walks it once
 * and not once a caller.
 */
__noinline __u64 judge_source(const struct key *source, __u32 slot, enum family family,
			      __u32 service, __u32 opening)
{
	struct trie_search w = {
		.slot = slot, .family = family, .service = service, .opening = opening
	};
	const union answer unlisted = { .reason = REASON_NOT_LISTED };
	enum reason reason;
	struct entry *e;

	if (!source)
		return unlisted.word;
	/* 6.1 takes no map key from a global function's argument. */
	w.key = *source;
	e = longest(&w);
	if (!e)
		return unlisted.word;
	reason = judge_entry(e, service);
	if (!is_final(reason) && e->length) {
		/* If none grants, the longest match says why: it is the one that
		 * the operator wrote for this source. */
		w.answer.reason = UNDECIDED;
		w.key.prefixlen = e->length - 1;
		bpf_loop(MAX_COVERING, try_shorter, &w, 0);
		if (w.answer.reason != UNDECIDED)
			return w.answer.word;
	}
	return apply_limit(e, reason, opening).word;
}

#endif
