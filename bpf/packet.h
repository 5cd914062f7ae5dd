/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reading packets, and keeping their checksums right. */
#pragma once
#include <linux/icmp.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include "maps.h"

/* Whether the part behind the IP header can be translated. */
enum transport { TRANSLATABLE, FRAGMENT, TRUNCATED, UNSUPPORTED };

struct packet {
	struct ethhdr *eth;
	struct iphdr *ip;
	void *l4;		/* only if `transport` is TRANSLATABLE */
	__u32 length;		/* of the frame, for the counters */
	__u16 ip_length;
	__u8 transport;
	__u8 echo;		/* the direction in which this ICMP echo may pass; 0 = not ICMP */
	__u8 tcp_flags;
	__be16 source_port;	/* of an ICMP echo request: the identifier */
	__be16 destination_port;	/* of an ICMP echo reply: the identifier */
};

enum parsed { NOT_IPV4, BAD_IPV4, IPV4 };

static __always_inline void parse_transport(struct packet *p, void *l4, __u32 length, void *end)
{
	p->transport = TRUNCATED;
	if (p->ip->frag_off & bpf_htons(0x3fff)) {
		p->transport = FRAGMENT;
	} else if (p->ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if (length < sizeof(*tcp) || (void *)(tcp + 1) > end)
			return;
		p->source_port = tcp->source;
		p->destination_port = tcp->dest;
		p->tcp_flags = ((__u8 *)tcp)[13];
		p->transport = TRANSLATABLE;
	} else if (p->ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if (length < sizeof(*udp) || (void *)(udp + 1) > end)
			return;
		p->source_port = udp->source;
		p->destination_port = udp->dest;
		p->transport = TRANSLATABLE;
	} else if (p->ip->protocol == IPPROTO_ICMP) {
		struct icmphdr *icmp = l4;

		if (length < sizeof(*icmp) || (void *)(icmp + 1) > end)
			return;
		p->transport = TRANSLATABLE;
		if (icmp->type == ICMP_ECHO && icmp->code == 0) {
			p->source_port = icmp->un.echo.id;
			p->echo = OUTBOUND;
		} else if (icmp->type == ICMP_ECHOREPLY && icmp->code == 0) {
			p->destination_port = icmp->un.echo.id;
			p->echo = INBOUND;
		} else {
			p->transport = UNSUPPORTED;
		}
	} else {
		p->transport = UNSUPPORTED;
	}
	p->l4 = l4;
}

static __always_inline enum parsed parse(struct xdp_md *ctx, struct packet *p)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);

	*p = (struct packet){ .eth = eth, .ip = ip, .length = ctx->data_end - ctx->data };
	if ((void *)ip > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NOT_IPV4;
	if ((void *)(ip + 1) > end)
		return BAD_IPV4;

	__u32 header = ip->ihl * 4;

	p->ip_length = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || p->ip_length < header || (void *)ip + p->ip_length > end)
		return BAD_IPV4;
	parse_transport(p, (void *)ip + header, p->ip_length - header, end);
	return IPV4;
}

/* RFC 1624, equation 3, for a change of up to 32 bits. */
static __always_inline __u16 adjust_checksum(__u16 checksum, __u32 removed, __u32 added)
{
	__u64 sum = (__u64)(__u16)~checksum + (__u32)~removed + added;

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * The two zeros of one's complement. UDP gives 0 another meaning (RFC 768), and the echo reply that is all zeros is the one message
 * whose checksum must be 0xffff; everywhere else they are the same.
 */
static __always_inline __u16 not_zero(__u16 checksum)
{
	return checksum ? checksum : 0xffff;
}

/* Writes the new address (source or destination) and port or identifier, and mends both checksums. */
static __always_inline void rewrite(struct packet *p, __be32 *address, __be32 new_address, int outbound,
				    __be16 new_port, void *end)
{
	__be32 old_address = *address;
	__be16 old_port = outbound ? p->source_port : p->destination_port;

	*address = new_address;
	p->ip->check = adjust_checksum(p->ip->check, old_address, new_address);

	if (p->ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = p->l4;

		if ((void *)(tcp + 1) > end)
			return;
		*(outbound ? &tcp->source : &tcp->dest) = new_port;
		tcp->check = adjust_checksum(adjust_checksum(tcp->check, old_address, new_address), old_port, new_port);
	} else if (p->ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = p->l4;

		if ((void *)(udp + 1) > end)
			return;
		*(outbound ? &udp->source : &udp->dest) = new_port;
		if (udp->check) {
			udp->check = not_zero(adjust_checksum(adjust_checksum(udp->check, old_address, new_address),
							      old_port, new_port));
		}
	} else {
		struct icmphdr *icmp = p->l4;

		if ((void *)(icmp + 1) > end)
			return;
		icmp->un.echo.id = new_port;
		icmp->checksum = not_zero(adjust_checksum(icmp->checksum, old_port, new_port));
	}
}

static __always_inline void decrement_ttl(struct iphdr *ip)
{
	/* The TTL is the high byte of its 16-bit word, so the word shrinks by 0x0100 in network byte order. */
	ip->check = adjust_checksum(ip->check, bpf_htons(0x0100), 0);
	ip->ttl--;
}
