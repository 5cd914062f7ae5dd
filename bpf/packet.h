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

/* Whether the part behind the IP header can be translated. HEADERLESS: it is a later fragment. */
enum transport { TRANSLATABLE, HEADERLESS, TRUNCATED, UNSUPPORTED };

enum part { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };

struct packet {
	struct ethhdr *eth;
	struct iphdr *ip;
	void *l4;		/* whole only if `transport` is TRANSLATABLE */
	struct iphdr *quoted;	/* of an ICMP error: the packet that it is about, and that one's transport header */
	void *quoted_l4;
	/* The flow's tuple. That of an ICMP error is the quoted packet's, reversed: its flow is the one that the error answers. */
	__be32 source;
	__be32 destination;
	__be16 source_port;	/* of an ICMP echo request: the identifier */
	__be16 destination_port;	/* of an ICMP echo reply: the identifier */
	__u32 length;		/* of the frame, for the counters */
	__u16 ip_length;
	__u8 transport;
	__u8 part;		/* enum part */
	__u8 protocol;		/* of the flow: the quoted packet's where there is one */
	__u8 only;		/* the direction in which alone this packet may pass; 0 = either */
	__u8 tcp_flags;
	__u8 quotes_tcp_checksum;
};

enum parsed { NOT_IPV4, BAD_IPV4, IPV4 };

static __always_inline int is_error(const struct icmphdr *icmp)
{
	return icmp->type == ICMP_DEST_UNREACH || icmp->type == ICMP_TIME_EXCEEDED || icmp->type == ICMP_PARAMETERPROB;
}

/* An ICMP error (RFC 5508): `length` bytes from its header on. Leaves `transport` as UNSUPPORTED when it quotes nothing of use. */
static __always_inline void parse_quoted(struct packet *p, struct icmphdr *icmp, __u32 length, void *end)
{
	struct iphdr *quoted = (void *)(icmp + 1);
	__u32 header;

	if ((void *)(quoted + 1) > end)
		return;
	header = quoted->ihl * 4;

	void *l4 = (void *)quoted + header;
	__be16 *ports = l4;

	if (quoted->version != 4 || header < sizeof(*quoted) || length < sizeof(*icmp) + header + 8 || l4 + 8 > end)
		return;
	if (quoted->frag_off & bpf_htons(0x1fff) || quoted->saddr != p->ip->daddr)
		return;
	if (quoted->protocol == IPPROTO_TCP || quoted->protocol == IPPROTO_UDP) {
		p->source_port = ports[1];
		p->destination_port = ports[0];
		p->quotes_tcp_checksum = length >= sizeof(*icmp) + header + 18 && l4 + 18 <= end;
	} else if (quoted->protocol == IPPROTO_ICMP) {
		struct icmphdr *echo = l4;

		if (echo->code)
			return;
		if (echo->type == ICMP_ECHO) {
			p->destination_port = echo->un.echo.id;
			p->only = INBOUND;
		} else if (echo->type == ICMP_ECHOREPLY) {
			p->source_port = echo->un.echo.id;
			p->only = OUTBOUND;
		} else {
			return;
		}
	} else {
		return;
	}
	p->source = quoted->daddr;
	p->destination = quoted->saddr;
	p->protocol = quoted->protocol;
	p->quoted = quoted;
	p->quoted_l4 = l4;
	p->transport = TRANSLATABLE;
}

static __always_inline void parse_transport(struct packet *p, void *l4, __u32 length, void *end)
{
	p->l4 = l4;
	p->transport = TRUNCATED;
	if (p->ip->frag_off & bpf_htons(0x3fff))
		p->part = p->ip->frag_off & bpf_htons(0x1fff) ? LATER_FRAGMENT : FIRST_FRAGMENT;
	if (p->part == LATER_FRAGMENT) {
		p->transport = HEADERLESS;
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
			p->only = OUTBOUND;
		} else if (icmp->type == ICMP_ECHOREPLY && icmp->code == 0) {
			p->destination_port = icmp->un.echo.id;
			p->only = INBOUND;
		} else {
			p->transport = UNSUPPORTED;
			if (is_error(icmp))
				parse_quoted(p, icmp, length, end);
		}
	} else {
		p->transport = UNSUPPORTED;
	}
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
	p->source = ip->saddr;
	p->destination = ip->daddr;
	p->protocol = ip->protocol;
	if (ip->version != 4 || header < sizeof(*ip) || p->ip_length < header || (void *)ip + p->ip_length > end)
		return BAD_IPV4;
	parse_transport(p, (void *)ip + header, p->ip_length - header, end);
	return IPV4;
}

/* Natto's own MAC addresses, which tell something by their last byte. */
static __always_inline void set_wrap_mac(__u8 *mac, __u8 last)
{
	mac[0] = 0x02;
	mac[1] = 0x4e;
	mac[2] = 0x41;
	mac[3] = 0x54;
	mac[4] = 0x00;
	mac[5] = last;
}

static __always_inline int is_wrap_mac(const __u8 *mac)
{
	return mac[0] == 0x02 && mac[1] == 0x4e && mac[2] == 0x41 && mac[3] == 0x54 && mac[4] == 0x00;
}

/* RFC 1071: the checksum from the sum of all 16-bit words. */
static __always_inline __u16 fold_checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u16 header_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += words[i];
	return fold_checksum(sum);
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

static __always_inline void rewrite_address(struct packet *p, __be32 *address, __be32 new_address)
{
	__be32 old_address = *address;

	*address = new_address;
	p->ip->check = adjust_checksum(p->ip->check, old_address, new_address);
}

/* Writes the new address (source or destination) and port or identifier, and mends both checksums. */
static __always_inline void rewrite(struct packet *p, __be32 *address, __be32 new_address, int outbound,
				    __be16 new_port, void *end)
{
	__be32 old_address = *address;
	__be16 old_port = outbound ? p->source_port : p->destination_port;

	rewrite_address(p, address, new_address);
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

/* The checksums of a quoted packet and of the error around it, kept right while fields of the quote change. */
static __always_inline void rewrite_quoted(struct packet *p, int quoted_source, __be32 new_address, __be16 new_port, void *end)
{
	struct icmphdr *error = p->l4;
	struct iphdr *quoted = p->quoted;
	__be16 *words = p->quoted_l4, *port, *checksum = 0;

	if ((void *)(error + 1) > end || (void *)(quoted + 1) > end || (void *)words + 8 > end)
		return;

	__u16 sum = error->checksum, old_check = quoted->check;
	__be32 *address = quoted_source ? &quoted->saddr : &quoted->daddr;
	__be32 old_address = *address;

	*address = new_address;
	quoted->check = adjust_checksum(old_check, old_address, new_address);
	sum = adjust_checksum(adjust_checksum(sum, old_address, new_address), old_check, quoted->check);

	if (p->protocol == IPPROTO_ICMP) {
		port = words + 2;
		checksum = words + 1;
	} else {
		port = quoted_source ? words : words + 1;
		if (p->protocol == IPPROTO_UDP)
			checksum = words[3] ? words + 3 : 0;
		else if (p->quotes_tcp_checksum && (void *)words + 18 <= end)
			checksum = words + 8;
	}

	__be16 old_port = *port;

	*port = new_port;
	sum = adjust_checksum(sum, old_port, new_port);
	if (checksum) {
		__u16 old = *checksum, new = adjust_checksum(old, old_port, new_port);

		if (p->protocol != IPPROTO_ICMP)
			new = adjust_checksum(new, old_address, new_address);
		if (p->protocol != IPPROTO_TCP)
			new = not_zero(new);
		*checksum = new;
		sum = adjust_checksum(sum, old, new);
	}
	error->checksum = not_zero(sum);
}

/*
 * Gives an ICMP error to the other side of the translation: its own address on our side, and the quoted packet's, which is the
 * other end there (what was sent outward comes back as its destination, and the other way round).
 */
static __always_inline void rewrite_error(struct packet *p, int outbound, __be32 new_address, __be16 new_port, void *end)
{
	rewrite_address(p, outbound ? &p->ip->saddr : &p->ip->daddr, new_address);
	rewrite_quoted(p, !outbound, new_address, new_port, end);
}

static __always_inline void decrement_ttl(struct iphdr *ip)
{
	/* The TTL is the high byte of its 16-bit word, so the word shrinks by 0x0100 in network byte order. */
	ip->check = adjust_checksum(ip->check, bpf_htons(0x0100), 0);
	ip->ttl--;
}
