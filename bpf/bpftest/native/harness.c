/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parsing headers, natively, under ASan and UBSan: what a verifier lets a program
 * do may still read the wrong bytes of a packet that is long enough.
 *
 * Each line of stdin is a frame: how many bytes it has, and those of its linear part
 * in hex ("-" is none). For each a line goes to stdout: finding, family, protocol,
 * ports, flags (-1: not read), source route, what strict makes of the finding, and
 * the addresses of the source and of the socket looked up. native_test.go reads it.
 * With the argument "verdicts" it prints the verdict of each reason, one a line.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../parse.h"
#include "../../plain.h"
#include "../../options.h"
#include "../../strict.h"
#include "../../socket.h"
#include "../../verdict.h"

static void print_hex(const char *name, const void *bytes, size_t size)
{
	printf(" %s", name);
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
}

/* The short way of reading says what the long one does, or nothing. */
static void compare_plain(struct xdp_md *ctx, enum reason finding, const struct packet *p)
{
	struct plain plain;
	int is4 = read_plain4(ctx, &plain);

	if (!is4 && !read_plain6(ctx, &plain))
		return;
	if (finding == UNDECIDED && !p->options_length && p->cursor.next == IPPROTO_TCP &&
	    p->family == (is4 ? FAMILY_IPV4 : FAMILY_IPV6) && plain.port == p->port &&
	    bpf_ntohs(plain.source_port) == p->source_port && p->has_flags &&
	    plain.flags == p->flags)
		return;
	fprintf(stderr, "not as plain as plain.h takes it to be\n");
	abort();
}

static void judge_frame(struct xdp_md *ctx)
{
	struct packet p = {
		.data = (void *)ctx->data,
		.data_end = (void *)ctx->data_end,
		.cursor.end = bpf_xdp_get_buff_len(ctx),
	};
	enum reason finding = parse(ctx, &p), strict = finding;
	int routed = p.options_length && is_source_routed(ctx, p.options, p.options_length);

	compare_plain(ctx, finding, &p);
	if (finding == REASON_NOT_IP)
		strict = hidden_in_link(&p);
	else if (finding == REASON_OTHER_PROTOCOL)
		strict = hidden_in_ip(&p);
	printf("%d %d %u %u %u %d %d %d", finding, p.family, p.cursor.next, p.source_port, p.port,
	       p.has_flags ? p.flags : -1, routed, strict);
	if (p.has_source) {
		struct key source;

		read_source(&p, &source);
		print_hex("source:", source.address, source.prefixlen / 8);
	}
	if (finding == UNDECIDED) {
		find_socket(ctx, p.network, p.family, bpf_htons(p.source_port), bpf_htons(p.port));
		print_hex("tuple:", &looked_for,
			  p.family == FAMILY_IPV4 ? sizeof(looked_for.ipv4)
						  : sizeof(looked_for.ipv6));
	}
	printf("\n");
}

static unsigned char nibble(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* The verdict of every number that a reason could have, where everything is enforced. */
static void print_verdicts(void)
{
	static struct policy enforcing;

	for (int service = 0; service < NR_SERVICES; service++)
		enforcing.services[service].refusal = VERDICT_DROP;
	for (__u32 reason = 0; reason < 2 * REASON_ROOM; reason++)
		printf("%d\n", judge(reason, &enforcing, 0));
}

int main(int arguments, char **argument)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t got;

	if (arguments > 1 && !strcmp(argument[1], "verdicts")) {
		print_verdicts();
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0); /* a report comes behind the last good frame */
	while ((got = getline(&line, &room, stdin)) > 0) {
		char *hex;
		size_t length = strtoul(line, &hex, 10), size = 0;
		unsigned char *frame;
		struct xdp_md ctx;

		hex += strspn(hex, " -");
		hex[strcspn(hex, "\n")] = 0;
		/* No byte more than the frame has: the next is poison. */
		frame = malloc(strlen(hex) / 2);
		for (; hex[2 * size]; size++)
			frame[size] = nibble(hex[2 * size]) << 4 | nibble(hex[2 * size + 1]);
		ctx = (struct xdp_md){ (unsigned long)frame, (unsigned long)(frame + size),
				       length };
		judge_frame(&ctx);
		free(frame);
	}
	free(line);
	return 0;
}
