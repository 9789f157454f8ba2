/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps by which user space tells the programs what to do, and the programs
 * tell user space what they did.
 *
 * Policy and tries come in two slots. A publish fills the idle one and then
 * flips current: no packet is ever judged by a mixture of two generations.
 */
#ifndef XDPALLOW_MAPS_H
#define XDPALLOW_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

/* A map like the others, but as a variable: the program has its address in an instruction,
 * where a lookup is ten, and every packet begins with it. */
struct current current SEC(".data.current") = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__type(value, struct policy);
} policy SEC(".maps");

/* Templates of the tries: the real ones are made by a publish, each of its own
 * size. They are variables only so that bpf2go sees what a trie holds. */
struct trie4 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__uint(key_size, KEY4_SIZE);
	__type(value, struct entry);
} trie4 SEC(".maps");

struct trie6 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct key);
	__type(value, struct entry);
} trie6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__array(values, struct trie4);
} allow4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__array(values, struct trie6);
} allow6 SEC(".maps");

/*
 * The prefilter's coarse level, inline on the drop path: one fixed map for both families,
 * because only the lookup in a map that the verifier knows is a few instructions and not
 * a call. Slots have a half each, in it IPv4 and then IPv6, of which the coarse level's blocks are used.
 */
#define COARSE_BLOCKS (1 << (MAX_COARSE_BITS - BLOCK_BITS))

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_SLOTS * 2 * COARSE_BLOCKS);
	__type(key, __u32);
	__type(value, struct block);
} bloom_coarse SEC(".maps");

/* Its fine level: 2^fine_bits bits, made by a publish to the size of the list. */
struct bloom_fine {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct block));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__array(values, struct bloom_fine);
} bloom_fine4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__array(values, struct bloom_fine);
} bloom_fine6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_OWNERS);
	__type(key, __u32);
	__type(value, struct owner);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NR_OWNERS);
	__type(key, __u32);
	__type(value, struct openings);
} openings_of SEC(".maps");

/* Bounded, and never waited for: a flood loses samples and not time. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* This namespace's own addresses, for the backstop. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct local_key);
	__type(value, __u8);
} local SEC(".maps");

/*
 * Refusals of the backstop by the index of the interface that they came in by, for those
 * that user space put here: the guarded ones. A driver that forgot the XDP program lets
 * strangers come so far, while that program counts nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} ingress SEC(".maps");

/* Not 0 while the XDP program of this CPU looks a socket up, which runs the backstop:
 * that lookup is no packet, and refusing it would hide the listener. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} in_socket_lookup SEC(".maps");

/* Replaced at load: counters/<interface>, or counters/backstop. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NR_COUNTERS);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/*
 * 1 makes the shadow program: it decides the same on the same maps, but counts in maps of its
 * own, samples nothing and leaves hits, last_seen and owners alone; that of XDP returns its
 * reason too. So `check` and the canary ask the real thing and disturb nothing.
 */
volatile const __u8 dry = 0;

/* Nobody reads it: it puts the numbers of enum limit into BTF, and so into Go. */
volatile const enum limit limits = 0;

#endif
