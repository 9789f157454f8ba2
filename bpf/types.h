/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The words and records that the kernel half and user space agree on. bpf2go
 * turns them into Go, so there is no second copy to keep in step.
 *
 * Reasons are append-only and counters have room for REASON_ROOM of them: a new
 * reason at the end is no new schema.
 */
#ifndef XDPALLOW_TYPES_H
#define XDPALLOW_TYPES_H

#include <linux/types.h>

/* One load or store that the compiler neither repeats nor splits: others write meanwhile. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

enum reason {
	/* Nothing that we guard, or a source that may: pass. */
	REASON_NOT_IP,
	REASON_OTHER_PROTOCOL,
	REASON_OTHER_PORT,
	REASON_NOT_OPENING,
	REASON_LISTED,
	/* The rest: drop, or audit where the service only audits. */
	REASON_MALFORMED,
	REASON_TOO_DEEP,
	REASON_SOURCE_ROUTE,
	REASON_FRAGMENT,
	REASON_SOURCE_PORT_ZERO,
	REASON_NOT_LISTED,
	REASON_EXPIRED,
	REASON_WRONG_SERVICE,
	REASON_SUSPENDED,
	REASON_RATE_LIMITED,
	REASON_STRAY,
	REASON_TUNNEL,
	REASON_UNKNOWN_PROTOCOL,
	REASON_COUNT,
	REASON_ROOM = 32,
};

/* Sizes and bits that user space has to know too. */
enum limit {
	/* The reasons that pass whatever the mode, bit by bit; every other number is refused. */
	PASS_REASONS = 1u << REASON_NOT_IP | 1u << REASON_OTHER_PROTOCOL | 1u << REASON_OTHER_PORT |
		       1u << REASON_NOT_OPENING | 1u << REASON_LISTED,
	NR_SERVICES = 32,
	NR_SLOTS = 2,
	NR_OWNERS = 8192, /* number 0 is none */
	KEY4_SIZE = 8,
	KEY6_SIZE = 20,
	ENTRY_SUSPENDED = 1,
	OWNER_SUSPENDED = 1,
	BLOCK_BITS = 9, /* a block of the prefilter has 2^9 bits */
	MIN_COARSE_BITS = 13,
	MAX_COARSE_BITS = 24, /* 2 MiB; no host's second cache holds more */
	MAX_FINE_BITS = 26,
	NEIGHBOUR = 0x51ed270b, /* hashed with a neighbourhood, so that it is no item */
	MIN_SAMPLED = 1 << 12,	/* the smallest share of 2^32: one refused packet of 2^20 */
};

enum verdict {
	VERDICT_PASS,
	VERDICT_DROP,
	VERDICT_AUDIT, /* would be dropped under enforce; passes */
	VERDICT_COUNT,
};

enum family {
	FAMILY_IPV4,
	FAMILY_IPV6,
	FAMILY_OTHER,
	FAMILY_COUNT,
};

#define NR_COUNTERS (VERDICT_COUNT * REASON_ROOM * FAMILY_COUNT)

/* One series of counters/<interface>, at (verdict, reason, family). */
struct counter {
	__u64 packets;
	__u64 bytes; /* of the whole frame, fragments of a multi-buffer one too */
};

/* What is dropped from unlisted sources; each scope drops what those before it do. */
enum scope {
	SCOPE_SYN,    /* openings, scans, and what cannot be judged */
	SCOPE_STRAY,  /* and segments that belong to no socket */
	SCOPE_STRICT, /* and every packet that could carry or hide one for the port */
};

/*
 * Service 0 stands for packets without a port: they belong to no service, so it
 * enforces while any service does and has the widest scope of all (rule 0
 * of README.md).
 */
struct service {
	enum verdict refusal; /* VERDICT_DROP under enforce, VERDICT_AUDIT under audit */
	enum scope scope;
	__u64 audit_until; /* CLOCK_BOOTTIME, ns, when audit ends by itself; 0 is never */
};

/* One slot of the map policy: which port belongs to which service. */
struct policy {
	struct service services[NR_SERVICES];
	__u8 tcp[65536]; /* port in host byte order -> service, 0 is none */
	__u8 udp[65536];
};

/* How big a family's bitmaps of the prefilter are; see prefilter.h. */
struct prefilter {
	__u8 shift;	/* the coarse level has 2^(64 - shift) blocks; 0 switches both levels off */
	__u8 fine_bits; /* the fine level has 2^fine_bits bits */
};

/* Which of the two slots is live. The kernel reads the slot once per run, and beside it
 * what is wanted as often. */
struct current {
	__u64 slot;
	__u64 generation; /* for user space */
	__u32 sample; /* the share of the refused packets that is sampled, of 2^32; 0 is none; the kernel may halve it */
	__u32 sample_near; /* likewise, of near misses, which must not drown in a flood */
	struct prefilter prefilter[NR_SLOTS][2]; /* IPv4, IPv6 */
	__u8 backstop; /* 1 while the backstop judges what the host takes out of tunnels */
	__u8 unused[7];
};

/*
 * Key of the LPM tries, in network byte order. The tries of allow4 have a key of
 * 8 bytes and read only the first four bytes of the address, so that one walk
 * serves both families.
 */
struct key {
	__u32 prefixlen;
	__u8 address[16];
};

/*
 * Key of the map local: an address, or a prefix, of which every address is this
 * network namespace's own when a packet from it comes in by the interface. IPv4 is
 * IPv4-mapped here: Linux takes no IPv6 packet with such a source.
 */
struct local_key {
	__u32 prefixlen;  /* of the 160 bits that follow */
	__u32 ifindex;	  /* host byte order; 0 is any interface */
	__u8 address[16]; /* network byte order */
};

/* What the maps of the prefilter hold: a cache line of bits. */
struct block {
	__u64 words[8];
};

/*
 * Value of the LPM tries: one entry, never flattened with what covers it. At 24
 * bytes a node of allow4 fits a 64-byte slab; at 32 it would take 96.
 */
struct entry {
	__u64 expires;	 /* CLOCK_BOOTTIME, ns; 0 is never */
	__u32 services;	 /* bit n is service n; bit 0 is always set */
	__u16 owner;	 /* index of owners, 0 is none */
	__u8 length;	 /* own prefix length */
	__u8 flags;	 /* ENTRY_* */
	__u32 last_seen; /* CLOCK_BOOTTIME, s, of the last TCP opening; 0 is never */
	__u32 hits;	 /* TCP openings since this trie was published */
};

/* What holds for all entries of an owner. */
struct owner {
	__u64 interval; /* ns between openings in the long run; 0 is no limit */
	__u64 burst;	/* ns: how far ahead of that the owner may be */
	__u64 due;	/* CLOCK_BOOTTIME, ns: when the openings so far will have been due */
	__u64 flags;	/* OWNER_* */
};

/* The reasons that an owner is charged with. */
enum charge {
	CHARGE_EXPIRED,
	CHARGE_WRONG_SERVICE,
	CHARGE_SUSPENDED,
	CHARGE_RATE_LIMITED,
	CHARGE_COUNT,
};

/* TCP openings of an owner on one CPU, by the entry that decided. */
struct openings {
	__u64 passed;
	__u64 dropped[CHARGE_COUNT];
	__u64 audited[CHARGE_COUNT];
	__u64 last_seen; /* CLOCK_BOOTTIME, s, of the last that passed; 0 is never */
};

/*
 * What is decided of a packet, as a word: a global function can return no more. A decision
 * has no action and no verdict yet, for mode and time give those; a shadow program returns them with
 * the reason.
 */
union answer {
	struct {
		__u8 action; /* of XDP */
		__u8 verdict;
		__u8 reason;
		__u8 service;
		__u8 family;
		__u8 near;   /* the source has a listed neighbour */
		__u16 owner; /* to be charged with the opening; 0 is nobody */
	};
	__u64 word;
};

/* A refused packet that was sampled. Network byte order where it says so. */
struct event {
	__u64 time;	 /* CLOCK_BOOTTIME, ns */
	__u8 source[16]; /* network byte order; IPv4 in the first four, 0 where there is none */
	__u32 interface; /* index; 0 is the backstop */
	__u32 weight;	 /* how many refused packets this one stands for */
	__u32 length;	 /* bytes of the frame; 0 in the backstop */
	__u16 port;	 /* host byte order; 0 where none was read */
	__u8 protocol;
	__u8 family;
	__u8 verdict;
	__u8 reason;
	__u8 near; /* the first 24 (IPv6: 48) bits are those of a listed prefix, probably */
	__u8 unused[5];
};

_Static_assert(REASON_COUNT <= REASON_ROOM, "counters");
_Static_assert(sizeof(struct counter) == 16, "schema");
_Static_assert(sizeof(struct policy) == 512 + 2 * 65536, "schema");
_Static_assert(sizeof(struct current) == 40, "schema");
_Static_assert(sizeof(struct key) == KEY6_SIZE, "schema");
_Static_assert(sizeof(struct local_key) == 24, "schema");
_Static_assert(sizeof(struct entry) == 24, "schema");
_Static_assert(sizeof(struct owner) == 32, "schema");
_Static_assert(sizeof(struct openings) == 80, "schema");
_Static_assert(sizeof(struct event) == 48, "schema");
_Static_assert(sizeof(union answer) == sizeof(__u64), "a word");
_Static_assert(REASON_ROOM <= 0xff && NR_SERVICES <= 0xff && NR_OWNERS <= 0xffff, "fit an answer");
_Static_assert(__builtin_offsetof(union answer, verdict) == 1, "maps.AnswerOf reads it there");
_Static_assert(__builtin_offsetof(union answer, reason) == 2, "maps.AnswerOf reads it there");

#endif
