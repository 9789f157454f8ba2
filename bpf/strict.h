/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What scope strict drops from unlisted sources though it names no protected port:
 * tunnels, whose inner packets the host would take out behind us, and protocols that
 * we do not know to be harmless (DESIGN 4.2, rules 8 and 10).
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
	return is_link_local(p) ? REASON_NOT_IP : REASON_UNKNOWN_PROTOCOL;
}

static __always_inline enum reason hidden_in_ip(const struct packet *p)
{
	int ipv4 = p->family == FAMILY_IPV4;

	switch (p->cursor.next) {
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
