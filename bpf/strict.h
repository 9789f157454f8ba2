/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What scope strict drops from unlisted sources though it names no protected port:
 * tunnels, whose inner packets the host would take out behind us, and protocols that
 * we do not know to be harmless (rules 8 and 10 of README.md).
 */
#ifndef XDPALLOW_STRICT_H
#define XDPALLOW_STRICT_H

#include <linux/if_ether.h>
#include <linux/in.h>

#include "parse.h"

#define ETHERTYPE_LACP 0x8809
#define ETHERTYPE_PTP 0x88f7
#define ETHERTYPE_LLDP 0x88cc

#define PROTOCOL_ICMPV6 58
#define PROTOCOL_NO_NEXT 59
#define PROTOCOL_OSPF 89
#define PROTOCOL_VRRP 112

#define PORT_TEREDO 3544
#define PORT_VXLAN 4789
#define PORT_GUE 6080
#define PORT_GENEVE 6081
#define PORT_VXLAN_LINUX 8472 /* Linux's own default, older than the registry's */

#define MIN_ETHERTYPE 0x600 /* less is the length of an IEEE 802.3 frame */

#define LLC_STP 0x42420300 /* both addresses, control, and what follows */
#define LLC_ES_IS 0xfefe0382
#define LLC_IS_IS 0xfefe0383
#define LLC_SNAP 0xaaaa0300 /* the last byte is the first of who defines the protocol */
#define SNAP_CISCO 0x000c

/* 01:80:c2:00:00:00 to 0f never leave the link, STP among them: without them a bridge
 * loops. Only for frames that are not IP; a MAC is never a reason to pass those. */
static __always_inline int is_link_local(const struct packet *p)
{
	const __u8 *mac = p->data;

	if (p->data + ETH_ALEN > p->data_end)
		return 0;
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] &&
	       mac[5] < 0x10;
}

/*
 * What bridges and routers say in frames that have a length: spanning tree, IS-IS, and what
 * Cisco defines (CDP, UDLD, per-VLAN spanning tree). Each by the protocol that it names: by
 * the same addresses, and in the SNAP of others, IP can be sent.
 */
static __always_inline int is_llc_control(const struct packet *p)
{
	__be16 *llc = peek(p->data, p->data_end, &p->cursor, 6);
	__u32 begins;

	if (!llc)
		return 0;
	begins = (__u32)bpf_ntohs(llc[0]) << 16 | bpf_ntohs(llc[1]);
	return begins == LLC_STP || begins == LLC_ES_IS || begins == LLC_IS_IS ||
	       (begins == LLC_SNAP && bpf_ntohs(llc[2]) == SNAP_CISCO);
}

static __always_inline enum reason hidden_in_link(const struct packet *p)
{
	switch (p->cursor.next) {
	case ETH_P_ARP:
	case ETHERTYPE_LLDP:
	case ETHERTYPE_LACP:
	case ETH_P_PAE:
	case ETHERTYPE_PTP:
		return REASON_NOT_IP;
	case ETH_P_MPLS_UC:
	case ETH_P_MPLS_MC:
	case ETH_P_PPP_SES:
	case ETH_P_MACSEC:
		return REASON_TUNNEL;
	}
	if (p->cursor.next < MIN_ETHERTYPE && is_llc_control(p))
		return REASON_NOT_IP;
	return is_link_local(p) ? REASON_NOT_IP : REASON_UNKNOWN_PROTOCOL;
}

/*
 * What an authentication header of IPv4 holds, or itself where that cannot be read. Linux
 * takes it off for whoever has a key; strict takes no sender's word for that, so TCP and
 * UDP in one stay unknown. Of IPv6 the walk of the extension headers goes through it.
 */
static __always_inline __u32 authenticated(const struct packet *p)
{
	const __u8 *header = peek(p->data, p->data_end, &p->cursor, 8);

	if (!header || p->cursor.at + (header[1] + 2) * 4 > p->cursor.end ||
	    header[0] == IPPROTO_UDP)
		return IPPROTO_AH;
	return header[0];
}

static __always_inline enum reason hidden_in_ip(const struct packet *p)
{
	int ipv4 = p->family == FAMILY_IPV4;
	__u32 protocol = p->cursor.next;

	if (ipv4 && protocol == IPPROTO_AH) {
		/* Harmless without its first, which is judged by what it holds. */
		if (p->cursor.fragment == FRAGMENT_LATER)
			return REASON_OTHER_PROTOCOL;
		protocol = authenticated(p);
	}
	switch (protocol) {
	case IPPROTO_UDP: /* a later fragment, harmless without its first */
	case IPPROTO_ESP:
	case IPPROTO_PIM:
	case PROTOCOL_OSPF:
	case PROTOCOL_VRRP: /* strict must not split a keepalived pair */
		return REASON_OTHER_PROTOCOL;
	case IPPROTO_ICMP:
	case IPPROTO_IGMP:
		return ipv4 ? REASON_OTHER_PROTOCOL : REASON_UNKNOWN_PROTOCOL;
	case PROTOCOL_ICMPV6:
	case PROTOCOL_NO_NEXT:
		return ipv4 ? REASON_UNKNOWN_PROTOCOL : REASON_OTHER_PROTOCOL;
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
	case IPPROTO_GRE:
	case IPPROTO_MPLS:
		return REASON_TUNNEL;
	}
	return REASON_UNKNOWN_PROTOCOL;
}

static __always_inline int is_tunnel_port(__u16 port)
{
	return port == PORT_VXLAN || port == PORT_VXLAN_LINUX || port == PORT_GENEVE ||
	       port == PORT_GUE || port == PORT_TEREDO;
}

#endif
