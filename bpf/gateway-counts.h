/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The counters once more by gateway, of what happens in slots of this node. */
#pragma once
#include "maps.h"

#define COUNTED_GATEWAYS 4096	/* of higher indices only the sums are counted: the map takes memory on every CPU */

struct gateway_counts {
	struct count of[COUNTERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTED_GATEWAYS);
	__type(key, __u32);
	__type(value, struct gateway_counts);
} gateway_counts SEC(".maps");

static __always_inline void count_for(__u32 gateway, __u32 counter, __u32 bytes)
{
	struct gateway_counts *c = bpf_map_lookup_elem(&gateway_counts, &gateway);

	count(counter, bytes);
	if (!c || counter >= COUNTERS)
		return;
	c->of[counter].packets++;
	c->of[counter].bytes += bytes;
}
