/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Translating and sending on what has a static mapping. */
#pragma once
#include "forward.h"
#include "static-mappings.h"

static __always_inline __u32 transport_header(const struct packet *p)
{
	return p->ip->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : 8;
}

/* Why a packet of a static mapping cannot pass; 0 if it can. Every ICMP message can, but an error that quotes what cannot be rewritten. */
static __always_inline enum counter fault_of(const struct packet *p, void *end)
{
	struct icmphdr *icmp = p->l4;

	if (p->ip->protocol != IPPROTO_TCP && p->ip->protocol != IPPROTO_UDP && p->ip->protocol != IPPROTO_ICMP)
		return DROP_UNSUPPORTED;
	if (p->part == LATER_FRAGMENT)
		return 0;
	if (p->ip_length < p->ip->ihl * 4 + transport_header(p))
		return DROP_MALFORMED;
	if (p->ip->protocol != IPPROTO_ICMP || p->quoted)
		return 0;
	return (void *)(icmp + 1) > end || is_error(icmp) ? DROP_UNSUPPORTED : 0;
}

/* The port or identifier on the mapped side. One of an echo's two is always 0. */
static __always_inline __be16 own_port(const struct packet *p, int outbound)
{
	if (p->only)
		return p->source_port | p->destination_port;
	return outbound ? p->source_port : p->destination_port;
}

static __always_inline void rewrite_static(struct packet *p, const struct static_mapping *mapping, int outbound, void *end)
{
	__be32 *place = outbound ? &p->ip->saddr : &p->ip->daddr;
	__be16 port = mapping->port ? mapping->port : own_port(p, outbound);

	if (p->quoted) {
		rewrite_error(p, outbound, mapping->address, port, end);
	} else if (p->transport == TRANSLATABLE && p->ip->protocol != IPPROTO_ICMP) {
		rewrite(p, place, mapping->address, outbound, port, end);
	} else {
		rewrite_address(p, place, mapping->address);
	}
}

/* Translates a packet and sends it on; back in if it is a hairpin. Returns the verdict. */
static __always_inline int translate_static(struct xdp_md *ctx, struct packet *p, const struct config *config,
					    const struct static_mapping *mapping, enum direction direction)
{
	void *end = (void *)(long)ctx->data_end;
	int outbound = direction == OUTBOUND;
	enum counter fault = fault_of(p, end);
	struct bpf_fib_lookup fib;
	__u32 length = p->length;
	long route;

	if (fault) {
		count(fault, length);
		return XDP_DROP;
	}
	if (p->ip->ttl <= 1)
		return XDP_PASS;
	/* The later fragments of a floating address need no note. */
	if (p->part == FIRST_FRAGMENT && mapping->port && !remember_translation(mapping->address, NO_GATEWAY, now_ns(config))) {
		count(DROP_FRAGMENT_LIMIT, length);
		return XDP_DROP;
	}
	if (outbound && is_public(p->ip->daddr)) {
		rewrite_static(p, mapping, 1, end);
		count(TRANSLATED_OUT, length);
		return hairpin(ctx, length);
	}
	route = find_route(ctx, &fib, p->ip, p->ip->protocol, p->ip_length, outbound ? mapping->address : p->ip->saddr,
			   outbound ? p->ip->daddr : mapping->address);
	if (route != BPF_FIB_LKUP_RET_SUCCESS && !is_for_kernel(route))
		return refuse(ctx, p, config, direction, route, fib.mtu_result);
	rewrite_static(p, mapping, outbound, end);
	count(outbound ? TRANSLATED_OUT : TRANSLATED_IN, length);
	return send_on(&fib, route, p->eth, p->ip);
}
