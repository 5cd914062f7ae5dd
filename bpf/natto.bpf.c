/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Natto's dataplane. docs/dataplane.md is its specification, step by step, and src/dataplane/model/ the same thing in TypeScript.
 *
 * An established packet takes the short way: its session is found by one look-up, its slot is seen to be ours, it is rewritten and
 * sent on. Only for the others do we ask whose they are, which slot they belong to, and which node owns it.
 */
#include "answers.h"
#include "forward.h"
#include "fragment-forward.h"
#include "maps.h"
#include "packet.h"
#include "sessions.h"
#include "slots.h"
#include "static-forward.h"
#include "sweep.h"

enum role { INSIDE = 1, OUTSIDE = 2, BOTH = 3 };

#define FABRIC_NETWORK 0

static __always_inline int drop(enum counter reason, __u32 length)
{
	count(reason, length);
	return XDP_DROP;
}

static __always_inline int drop_for(__u32 gateway, enum counter reason, __u32 length)
{
	count_for(gateway, reason, length);
	return XDP_DROP;
}

/* The packet has no session that counts: find its slot, and steer it, or begin a session, or drop it. */
static __always_inline int begin(struct xdp_md *ctx, struct packet *p, const struct config *config, __u32 network,
				 enum direction direction, enum mark mark)
{
	__be32 public = p->destination;
	__u32 slot_index;
	struct gateway *gateway = 0;
	__u32 number = 0;

	if (config->static_mappings) {
		struct static_mapping *mapping = find_static(p, network, direction);

		if (mapping)
			return translate_static(ctx, p, config, mapping, direction);
	}
	if (direction == OUTBOUND) {
		struct source *source = source_of(network, p->source);

		gateway = source ? bpf_map_lookup_elem(&gateways, &source->gateway) : 0;
		if (!gateway)
			return mark ? drop(DROP_BAD_WRAP, p->length) : XDP_PASS;
		public = choose(gateway, source, network, p->source, p->source_port, &number);
	}

	struct public_address *address = bpf_map_lookup_elem(&addresses, &public);

	if (!address && direction == INBOUND)
		return mark ? drop(DROP_BAD_WRAP, p->length) : XDP_PASS;
	if (p->transport == TRUNCATED)
		return drop(DROP_MALFORMED, p->length);
	if (p->transport == UNSUPPORTED)
		return drop(DROP_UNSUPPORTED, p->length);
	if (p->ip->ttl <= 1)
		return XDP_PASS;
	if (!address)
		return drop(DROP_NO_OWNER, p->length);

	if (direction == OUTBOUND) {
		slot_index = outbound_slot(number, address);
	} else {
		__u16 port = bpf_ntohs(p->destination_port);

		if (port < FIRST_PORT || !address->slot_count)
			return drop(DROP_NO_SESSION, p->length);
		slot_index = inbound_slot(port, address);
	}

	struct slot *slot = bpf_map_lookup_elem(&slots, &slot_index);

	if (!slot || slot->owner == NOBODY)
		return drop(DROP_NO_OWNER, p->length);

	struct turn turn;

	if (config->stands_down) {
		turn = turn_standing_down(slot, direction, mark);
	} else if (direction == INBOUND) {
		turn = inbound_turn(slot, mark);
	} else {
		int is_middle = p->quoted || opening_of(p) != OPENS;
		int may_know = gateway && (slot->previous != NOBODY || mark >= HANDED_ON);
		int has_mapping = !is_middle && may_know && covering_mapping(p, network, gateway);

		turn = outbound_turn(slot, is_middle, has_mapping, mark);
	}
	if (turn.node != SELF) {
		struct node *node = bpf_map_lookup_elem(&nodes, &turn.node);

		if (turn.node == NOBODY)
			return drop(DROP_NOT_OWNER, p->length);
		if (!node || !node->address)
			return drop(DROP_NO_OWNER, p->length);
		if (p->part && !remember_turn(turn.node, turn.mark, now_ns(config)))
			return drop(DROP_FRAGMENT_LIMIT, p->length);
		return steer(ctx, p, config, node->address, turn.mark, network, direction);
	}
	if (p->quoted)
		return drop_for(address->gateway, DROP_NO_SESSION, p->length);

	enum opening opening = opening_of(p);

	/* What the filter lets in leaves nothing behind: only what the endpoint sends makes a session. */
	if (direction == INBOUND) {
		__u32 index = address->gateway;
		struct record *admitted = 0;

		gateway = bpf_map_lookup_elem(&gateways, &index);
		if (gateway && opening == OPENS)
			admitted = admitting(gateway, p->protocol, p->source, p->destination, p->destination_port);
		return admitted ? translate(ctx, p, config, admitted, INBOUND, 0) : drop_for(address->gateway, DROP_NO_SESSION, p->length);
	}

	struct record *session = 0;
	__u64 now = now_ns(config);
	int is_hairpin = is_public(p->ip->daddr);

	if (!gateway)
		return XDP_DROP;
	if (opening != OPENS) {
		struct record *answered = opening == NO_OPENING ? 0 : answered_through(p, network, gateway);

		if (!answered) {
			count_for(address->gateway, DROP_NOT_SYN, p->length);
			return gateway->answers_reset ? answer_reset(ctx, p, now) : XDP_DROP;
		}
		if (opening == REFUSES)
			return translate(ctx, p, config, answered, OUTBOUND, is_hairpin);
	}

	enum counter failed = create_session(p, network, slot->stand_in, public, gateway, address, opening == ACCEPTS, now,
					     &session);

	if (failed || !session) {
		count_for(address->gateway, failed, p->length);
		if (!gateway->answers_prohibited)
			return XDP_DROP;
		/* RFC 5508 REQ-8 */
		return answer_unreachable(ctx, p, config->node_address, ICMP_PKT_FILTERED, 0, PROHIBITED_SENT, now);
	}
	session->is_hairpin = is_hairpin;
	note(session, p, direction, now);
	return translate(ctx, p, config, session, direction, is_hairpin);
}

/* What is of a session or is to begin one. */
static __always_inline int handle(struct xdp_md *ctx, struct packet *p, const struct config *config, enum direction direction,
				  enum mark mark)
{
	if (p->only && p->only != direction)
		p->transport = UNSUPPORTED;
	if (p->transport == TRANSLATABLE && !config->stands_down) {
		struct record *session = find_session(p, FABRIC_NETWORK, direction);

		if (session) {
			if (p->ip->ttl <= 1)
				return XDP_PASS;
			if (!p->quoted)
				note(session, p, direction, now_ns(config));
			return translate(ctx, p, config, session, direction, session->is_hairpin);
		}
	}
	return begin(ctx, p, config, FABRIC_NETWORK, direction, mark);
}

/* With one interface for everything: what comes to a public address comes from outside, unless it is from somebody inside (a hairpin). */
static __always_inline enum direction direction_of(const struct packet *p, const struct config *config)
{
	if (!is_public(p->ip->daddr) || source_of(FABRIC_NETWORK, p->ip->saddr))
		return OUTBOUND;
	return config->static_mappings && is_floating(p->ip->saddr, FABRIC_NETWORK) ? OUTBOUND : INBOUND;
}

static __always_inline int process(struct xdp_md *ctx, enum role role)
{
	struct config *config = get_config();
	enum direction direction = role == OUTSIDE ? INBOUND : OUTBOUND;
	enum mark mark = NOT_WRAPPED;
	struct packet p;

	if (!config)
		return XDP_DROP;
	switch (parse(ctx, &p)) {
	case NOT_IPV4:
		return XDP_PASS;
	case BAD_IPV4:
		return drop(DROP_MALFORMED, p.length);
	case IPV4:
		break;
	}

	if (p.ip->daddr == config->node_address && p.ip->protocol == IPPROTO_UDP && p.part == WHOLE &&
	    p.transport == TRANSLATABLE && p.destination_port == config->vxlan_port) {
		switch (unwrap(ctx, &p, &direction, &mark)) {
		case BAD_WRAP:
			return drop(DROP_BAD_WRAP, p.length);
		case PROBE:
			if (!config->programmed)
				return drop(DROP_BAD_WRAP, p.length);
			if (is_cut_off(ctx, config, &p))
				return drop(DROP_NOT_OWNER, p.length);
			return answer_probe(ctx, p.eth, p.ip, p.l4, p.length);
		case INNER_PACKET:
			break;
		}
		if (parse(ctx, &p) != IPV4 || (mark == MEETING && p.part == WHOLE))
			return drop(DROP_BAD_WRAP, p.length);
		count(UNWRAPPED, p.length);
	} else if (role == BOTH) {
		direction = direction_of(&p, config);
	}
	if (p.part)
		return take_up_fragment(ctx, direction, mark, p.length);
	p.part = WHOLE;
	return handle(ctx, &p, config, direction, mark);
}

SEC("xdp")
int natto_inside(struct xdp_md *ctx)
{
	return process(ctx, INSIDE);
}

SEC("xdp")
int natto_outside(struct xdp_md *ctx)
{
	return process(ctx, OUTSIDE);
}

SEC("xdp")
int natto_both(struct xdp_md *ctx)
{
	return process(ctx, BOTH);
}

/* Never attached: the second half of a hairpin (RFC 4787 REQ-9, RFC 5382 REQ-8, RFC 5508 REQ-7). */
SEC("xdp")
int natto_inward(struct xdp_md *ctx)
{
	struct config *config = get_config();
	struct packet p;

	if (!config || parse(ctx, &p) != IPV4)
		return XDP_DROP;
	if (p.part)
		return take_up_fragment(ctx, INBOUND, NOT_WRAPPED, p.length);
	p.part = WHOLE;
	return handle(ctx, &p, config, INBOUND, NOT_WRAPPED);
}

/* Never attached: every fragment comes here. */
SEC("xdp")
int natto_fragment(struct xdp_md *ctx)
{
	struct config *config = get_config();
	struct fragment_in_hand *hand = fragment_in_hand();
	struct packet p;

	if (!config || !hand || parse(ctx, &p) != IPV4 || !p.part)
		return XDP_DROP;
	return handle_fragment(ctx, &p, config, FABRIC_NETWORK, hand);
}

static __always_inline int handle_first_fragment(struct xdp_md *ctx, enum direction direction)
{
	struct config *config = get_config();
	struct fragment_in_hand *hand = fragment_in_hand();
	struct packet p;

	if (!config || !hand || parse(ctx, &p) != IPV4 || p.part != FIRST_FRAGMENT)
		return XDP_DROP;
	p.part = FIRST_FRAGMENT;
	return handle(ctx, &p, config, direction, hand->key.mark);
}

/* Never attached: a first fragment is handled as a whole packet, and what becomes of it is noted for the others. */
SEC("xdp")
int natto_first_outbound(struct xdp_md *ctx)
{
	return handle_first_fragment(ctx, OUTBOUND);
}

SEC("xdp")
int natto_first_inbound(struct xdp_md *ctx)
{
	return handle_first_fragment(ctx, INBOUND);
}

/* At one end of Natto's own pair of interfaces: releases fragments that were held. */
SEC("xdp")
int natto_held(struct xdp_md *ctx)
{
	struct datagram_key key = {};
	struct packet p;

	if (parse(ctx, &p) != IPV4 || !p.part || !read_label(p.eth, &key))
		return XDP_DROP;
	name_datagram(&key, &p, FABRIC_NETWORK);
	/* A plain number from here on, which the verifier lets be subtracted. */
	barrier_var(p.length);
	return release_next(ctx, &key, p.length);
}

/* At the other end: takes up the first fragment of a datagram and those that were held, in this order. */
SEC("xdp")
int natto_again(struct xdp_md *ctx)
{
	struct fragment_in_hand *hand = fragment_in_hand();
	struct packet p;

	if (!hand || parse(ctx, &p) != IPV4 || !p.part || !read_label(p.eth, &hand->key))
		return XDP_DROP;
	/* The kernel takes only what is addressed to the interface. */
	set_wrap_mac(p.eth->h_dest, HELD_MAC);
	hand->is_again = 1;
	bpf_tail_call(ctx, &stages, FRAGMENT);
	return drop(DROP_FRAGMENT, p.length);
}

/* Run once by the agent (BPF_PROG_TEST_RUN), never attached: starts the expiry. */
SEC("xdp")
int natto_start_sweeper(struct xdp_md *ctx)
{
	return start_sweeper() ? XDP_ABORTED : XDP_PASS;
}

/* For tests of timers, never attached: sweeps everything at once. */
SEC("xdp")
int natto_sweep_all(struct xdp_md *ctx)
{
	return sweep_all() < 0 ? XDP_ABORTED : XDP_PASS;
}

/* The kernel lets only GPL-compatible programs use its routing tables; both licences of this folder's choice are named. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
