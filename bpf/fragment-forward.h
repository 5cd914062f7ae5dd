/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What happens to a fragment: it goes to where its datagram's fragments meet, and there the way of the first. docs/dataplane.md, "Fragments". */
#pragma once
#include "forward.h"
#include "fragments.h"
#include "held-fragments.h"
#include "static-forward.h"

/* Where the payload of a fragment lies in that of its datagram, in units of 8 bytes. */
struct place {
	__u32 from;
	__u32 to;
	int is_last;
	int is_good;	/* it can be a part of an IPv4 datagram, and leaves the transport header to the first */
};

static __always_inline struct place place_of(const struct packet *p)
{
	__u16 field = bpf_ntohs(p->ip->frag_off);
	__u32 bytes = p->ip_length - p->ip->ihl * 4, from = field & 0x1fff;
	int is_last = !(field & 0x2000);
	int cuts_header = p->ip->protocol == IPPROTO_TCP && from && from * 8 < sizeof(struct tcphdr);

	return (struct place){
		.from = from,
		.to = from + (bytes + 7) / 8,
		.is_last = is_last,
		.is_good = bytes && (is_last || bytes % 8 == 0) && from * 8 + bytes <= 0xffff && !cuts_header,
	};
}

/*
 * The node at which all fragments of a datagram meet that came in by whatever node: it follows from what they have in common, which are no
 * ports. Outbound it is the owner of the endpoint's slot, unless the gateway spreads the endpoint's flows.
 */
static __always_inline __u32 meeting_node(const struct packet *p, __u32 network, const struct source *source,
					  const struct public_address *address)
{
	__u32 number = mix32(bpf_ntohl(p->ip->saddr) ^ bpf_ntohs(p->ip->id));

	if (source) {
		__u32 index = source->gateway;
		struct gateway *gateway = bpf_map_lookup_elem(&gateways, &index);
		__be32 public = gateway ? choose(gateway, source, network, p->ip->saddr, p->ip->id, &number) : 0;

		address = bpf_map_lookup_elem(&addresses, &public);
		if (!address)
			return NOBODY;
	} else if (!address || !address->slot_count) {
		return SELF;
	}

	__u32 slot_index = outbound_slot(number, address);
	struct slot *slot = bpf_map_lookup_elem(&slots, &slot_index);

	return slot && slot->owner != NOBODY ? acting(slot->owner, slot->backup) : NOBODY;
}

static __always_inline int drop_fragment(enum counter reason, __u32 length)
{
	count(reason, length);
	return XDP_DROP;
}

static __always_inline int send_fragment(struct xdp_md *ctx, struct packet *p, const struct config *config, __u32 index,
					 enum mark mark, __u32 network, enum direction direction)
{
	struct node *node = bpf_map_lookup_elem(&nodes, &index);

	if (!node || !node->address)
		return drop_fragment(DROP_NO_OWNER, p->length);
	return steer(ctx, p, config, node->address, mark, network, direction);
}

/* A later fragment goes the way of its first. Its fate is copied, since the datagram may be forgotten with its last part. */
static __always_inline int follow(struct xdp_md *ctx, struct packet *p, const struct config *config, struct datagram_key *key,
				  struct datagram *d, const struct place *place)
{
	enum direction direction = key->direction;
	int outbound = direction == OUTBOUND;
	const struct fate fate = d->fate;
	struct bpf_fib_lookup fib;
	long route;

	if (p->ip->ttl <= 1)
		return XDP_PASS;
	if (!place->is_good || !pass_units(d, place->from, place->to, place->is_last))
		return drop_fragment(DROP_FRAGMENT, p->length);
	if (d->units && d->units_passed >= d->units)
		forget_datagram(key);
	if (fate.outcome == SENT_ON)
		return send_fragment(ctx, p, config, fate.node, fate.mark, key->protocol_network >> 8, direction);
	if (outbound && is_public(p->ip->daddr)) {
		__u32 length = p->length;

		rewrite_address(p, &p->ip->saddr, fate.address);
		count_for(fate.gateway, TRANSLATED_OUT, length);
		return hairpin(ctx, length);
	}
	route = find_route(ctx, &fib, p->ip, p->ip->protocol, p->ip_length, outbound ? fate.address : p->ip->saddr,
			   outbound ? p->ip->daddr : fate.address);
	if (route != BPF_FIB_LKUP_RET_SUCCESS && !is_for_kernel(route))
		return refuse(ctx, p, config, direction, route, fib.mtu_result);
	rewrite_address(p, outbound ? &p->ip->saddr : &p->ip->daddr, fate.address);
	count_for(fate.gateway, outbound ? TRANSLATED_OUT : TRANSLATED_IN, p->length);
	return send_on(&fib, route, p->eth, p->ip);
}

/* A fragment of the direction and mark that are in hand. */
static __always_inline int handle_fragment(struct xdp_md *ctx, struct packet *p, const struct config *config, __u32 network,
					   struct fragment_in_hand *hand)
{
	struct datagram_key *key = &hand->key;
	enum direction direction = key->direction;
	enum mark mark = key->mark;
	int outbound = direction == OUTBOUND;
	__be32 destination = p->ip->daddr;
	struct place place = place_of(p);
	struct static_mapping *mapping = config->static_mappings ? find_static(p, network, direction) : 0;
	struct source *source = 0;
	struct public_address *address = 0;
	int is_ours = 0;

	if (outbound) {
		source = source_of(network, p->ip->saddr);
		if (source)
			is_ours = 1;
	} else {
		address = bpf_map_lookup_elem(&addresses, &destination);
		if (address)
			is_ours = 1;
	}
	/* The verifier would not have the two pointers thrown together. */
	barrier_var(is_ours);

	/* Whichever node gets a fragment of a floating address translates it: they need not meet. */
	int meets = is_ours && !(mapping && !mapping->port);

	int may_be_elsewhere = meets && mark == NOT_WRAPPED && !hand->is_again;

	/* Here they meet. */
	if (mark == MEETING)
		mark = meets ? NOT_WRAPPED : STEERED;
	key->mark = mark;
	name_datagram(key, p, network);
	hand->units = place.to;

	if (meets) {
		if (p->ip->ttl <= 1)
			return XDP_PASS;
		if (p->ip->protocol != IPPROTO_TCP && p->ip->protocol != IPPROTO_UDP && p->ip->protocol != IPPROTO_ICMP)
			return drop_fragment(DROP_UNSUPPORTED, p->length);
		if (!place.is_good)
			return drop_fragment(DROP_FRAGMENT, p->length);
	}
	if (may_be_elsewhere) {
		__u32 node = meeting_node(p, network, source, address);

		if (node == NOBODY)
			return drop_fragment(DROP_NO_OWNER, p->length);
		if (node != SELF)
			return send_fragment(ctx, p, config, node, MEETING, network, direction);
	}
	if (p->part == FIRST_FRAGMENT) {
		struct waiting *w = meets && !hand->is_again ? bpf_map_lookup_elem(&waiting, key) : 0;

		if (w) {
			w->is_released = 1;
			label(p->eth, key);
			return bpf_redirect_map(&held_ends, 0, BPF_F_BROADCAST);
		}
		bpf_tail_call(ctx, &stages, outbound ? FIRST_OUTBOUND : FIRST_INBOUND);
		return drop_fragment(DROP_FRAGMENT, p->length);
	}

	struct datagram *d = bpf_map_lookup_elem(&datagrams, key);

	if (d)
		return follow(ctx, p, config, key, d, &place);
	if (mapping)
		return translate_static(ctx, p, config, mapping, direction);
	if (!is_ours)
		return mark ? drop_fragment(DROP_BAD_WRAP, p->length) : XDP_PASS;
	/* Its first has come, and was dropped. */
	if (hand->is_again)
		return drop_fragment(DROP_FRAGMENT, p->length);
	return hold(ctx, sizeof(struct ethhdr) + p->ip_length, now_ns(config));
}
