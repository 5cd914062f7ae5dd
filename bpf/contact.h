/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Whether this node was out of its peers' reach, told from their probes. Then its slots may be others' by now, and it must not act by a
 * configuration of before until somebody has looked: it stands down. docs/dataplane.md, "Standing down".
 *
 * A peer that goes on counting its probes has tried all the time; one that has just begun to probe, or was held up itself, says nothing. It
 * takes two of them, since one may have been cut off itself.
 */
#pragma once
#include "maps.h"

#define CUT_OFF_NS 2000000000ULL	/* no slot is moved for a silence that is shorter */
#define CUT_OFF_PROBES 5

/* By node index; SELF has what holds for all of them: `heard_at`, and in `run` who was the first to be heard after a silence. */
struct contact {
	__u32 run;
	__u32 sequence;
	__u64 heard_at;		/* 0 = never */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_NODES);
	__type(key, __u32);
	__type(value, struct contact);
} contacts SEC(".maps");

/* What peers' probes carry behind the VXLAN header, in network byte order. */
struct probe {
	__be32 run;
	__be32 sequence;
};

/* A probe of a peer has come: returns whether this node stands down. */
static __always_inline int stands_down_at(struct config *config, __u32 sender, const struct probe *probe, __u64 now)
{
	__u32 self = SELF, run = bpf_ntohl(probe->run), sequence = bpf_ntohl(probe->sequence);
	struct contact *all = bpf_map_lookup_elem(&contacts, &self), *peer = bpf_map_lookup_elem(&contacts, &sender);

	if (!all || !peer)
		return config->stands_down;

	int has_tried = peer->heard_at && peer->run == run && (__u32)(sequence - peer->sequence - CUT_OFF_PROBES) < 1U << 31 &&
			now - peer->heard_at >= CUT_OFF_NS;

	if (has_tried && now - all->heard_at >= CUT_OFF_NS) {
		all->run = sender;
	} else if (has_tried && all->run != SELF && all->run != sender) {
		all->run = SELF;
		config->stands_down = 1;
	} else if (all->run != sender) {
		all->run = SELF;
	}
	*peer = (struct contact){ .run = run, .sequence = sequence, .heard_at = now };
	all->heard_at = now;
	return config->stands_down;
}
