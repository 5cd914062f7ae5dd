/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Whose turn it is with a packet that no session here counts for: this node's, or another's. docs/dataplane.md, "Whose turn it is".
 *
 * A node that cannot finish a packet passes it on with a higher mark than it came with, so every packet comes to an end. The marks
 * stand in the wrap (the last byte of the inner destination MAC).
 */
#pragma once
#include "maps.h"

enum mark {
	NOT_WRAPPED,
	STEERED,	/* the first node thinks that it is yours */
	RELAYED,	/* it was steered to somebody who thinks that it is yours */
	HANDED_ON,	/* it is mine and I do not know its flow: perhaps you do; if not, return it */
	RETURNED,	/* nobody who might know its flow does */
	LAST,		/* take it, or drop it */
	MEETING,	/* a fragment: the others of its datagram come to you, too */
};

/* Until when a node counts as dead in the eyes of this one: written by the agent, which has to keep saying so. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_NODES);
	__type(key, __u32);
	__type(value, __u64);
} dead_nodes SEC(".maps");

static __always_inline int is_dead(__u32 node)
{
	__u64 *until = bpf_map_lookup_elem(&dead_nodes, &node);

	return until && *until && *until > bpf_ktime_get_coarse_ns();
}

struct turn {
	__u32 node;	/* SELF: it ends here; NOBODY: nobody may take it */
	enum mark mark;	/* with which it is sent there */
};

/* Who acts for a node: its backup while it is dead. */
static __always_inline __u32 acting(__u32 node, __u32 backup)
{
	return node != SELF && backup != NOBODY && is_dead(node) ? backup : node;
}

/* Inbound, the port names its holder: nobody else can have the session. */
static __always_inline struct turn inbound_turn(const struct slot *s, enum mark mark)
{
	__u32 node = s->holder == s->owner ? acting(s->owner, s->backup) : s->holder;

	if (node != SELF && mark >= RELAYED)
		return (struct turn){ .node = NOBODY };
	return (struct turn){ .node = node, .mark = mark + 1 };
}

/* Outbound, by somebody who does not take the packet, to who does as far as he knows. */
static __always_inline struct turn pass_on(__u32 taker, enum mark mark)
{
	switch (mark) {
	case NOT_WRAPPED:
	case STEERED:
		return (struct turn){ .node = taker, .mark = mark + 1 };
	case RELAYED:
	case HANDED_ON:
		return (struct turn){ .node = taker, .mark = RETURNED };
	case RETURNED:
		return (struct turn){ .node = taker, .mark = LAST };
	default:
		return (struct turn){ .node = NOBODY };
	}
}

/*
 * Outbound, new flows are the owner's; those that it does not know may be the previous owner's. `is_middle`: the packet cannot begin a flow.
 * `has_mapping`: its endpoint has a mapping here already.
 */
static __always_inline struct turn outbound_turn(const struct slot *s, int is_middle, int has_mapping, enum mark mark)
{
	const struct turn here = { .node = SELF };
	__u32 taker = acting(s->owner, s->backup);
	int knows = s->previous == SELF || s->backup == SELF;

	if (has_mapping && (taker == SELF || knows))
		return here;
	if (taker == SELF) {
		__u32 elder = s->previous;
		int can_ask = elder != NOBODY && elder != SELF && !is_dead(elder);

		if (can_ask && mark < HANDED_ON && (is_middle || s->stand_in != NO_SLOT))
			return (struct turn){ .node = elder, .mark = HANDED_ON };
		if (can_ask && mark < LAST && !is_middle && s->stand_in == NO_SLOT)
			return (struct turn){ .node = elder, .mark = LAST };
		return here;
	}
	if (knows && (is_middle ? mark >= HANDED_ON : mark >= RETURNED && s->stand_in != NO_SLOT))
		return here;
	if ((s->previous == SELF && mark < HANDED_ON) || (knows && mark == HANDED_ON))
		return (struct turn){ .node = taker, .mark = RETURNED };
	return pass_on(taker, mark);
}

/*
 * Of a node that stands down nothing is its own: it passes on, for its own slots to the backup. Who is dead in its eyes may be so only because it
 * was cut off itself.
 */
static __always_inline struct turn turn_standing_down(const struct slot *s, enum direction direction, enum mark mark)
{
	__u32 node = direction == INBOUND && s->holder != SELF ? s->holder : s->owner;

	if (node == SELF)
		node = s->backup;
	if (direction == OUTBOUND)
		return pass_on(node, mark);
	return mark >= RELAYED ? (struct turn){ .node = NOBODY } : (struct turn){ .node = node, .mark = mark + 1 };
}
