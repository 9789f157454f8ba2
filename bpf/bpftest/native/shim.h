/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel gives to a BPF program, for the headers of this program compiled
 * natively: included before them, it takes the place of bpf_helpers.h. Helpers check
 * what the kernel's check and nothing else, so that a sanitizer sees the rest.
 */
#ifndef XDPALLOW_SHIM_H
#define XDPALLOW_SHIM_H

#include <stddef.h>
#include <string.h>
#include <sys/cdefs.h>

/* The kernel's has pointers of 32 bits, which the verifier widens. */
#define xdp_md kernel_xdp_md
#include <linux/bpf.h>
#undef xdp_md

struct xdp_md {
	unsigned long data, data_end;
	unsigned long length; /* with what lies behind the linear part */
};

#define __BPF_HELPERS__ /* the guard of bpf_helpers.h */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline, unused))
#define __noinline static __attribute__((noinline, unused))
#define barrier_var(var) asm volatile("" : "+r"(var))
#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#define __array(name, value) typeof(value) *name[]

static inline __u64 bpf_xdp_get_buff_len(struct xdp_md *ctx)
{
	return ctx->length;
}

/* The kernel reads behind the linear part too; here that is zeros. */
static inline long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 offset, void *to, __u32 size)
{
	unsigned long linear = ctx->data_end - ctx->data, there = 0;

	if (offset > 0xffff || size > 0xffff || offset + size > ctx->length)
		return -22; /* EINVAL */
	if (offset < linear)
		there = linear - offset < size ? linear - offset : size;
	memcpy(to, (char *)ctx->data + offset, there);
	memset((char *)to + there, 0, size - there);
	return 0;
}

static inline long bpf_loop(__u32 count, void *callback, void *context, __u64 flags)
{
	long (*step)(__u32, void *) = (long (*)(__u32, void *))callback;
	__u32 n = 0;

	while (n < count)
		if (step(n++, context))
			break;
	return n;
}

/* Any map has one element; the headers that are tested ask for no other. */
static inline void *bpf_map_lookup_elem(void *map, const void *key)
{
	static __u64 element;

	return &element;
}

/* No socket is found, but it is known who was looked for. */
static struct bpf_sock_tuple looked_for;

static inline struct bpf_sock *bpf_skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple,
						  __u32 size, __u64 netns, __u64 flags)
{
	memset(&looked_for, 0, sizeof(looked_for));
	memcpy(&looked_for, tuple, size);
	return NULL;
}

static inline __u64 bpf_ktime_get_boot_ns(void)
{
	return 1;
}

static inline long bpf_sk_release(void *socket)
{
	return 0;
}

#endif
