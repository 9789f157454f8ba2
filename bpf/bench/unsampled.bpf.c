//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The shipped source without sampling: what it costs the drop path is the difference.
 */
#include "../verdict.h"
#include "../sample.h"

#define is_sampled(before, near) ((void)(before), 0)

#include "../xdpallow.bpf.c"
