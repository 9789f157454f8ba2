//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One object of two programs, which share their maps: the gate at the NIC, and the second
 * gate in front of the sockets. */
#include "xdp.bpf.c"
#include "backstop.bpf.c"

char _license[] SEC("license") = "Dual BSD/GPL";
