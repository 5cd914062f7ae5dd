/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records and the entries of `flows` that lead to them.
 *
 * Whoever inserts an entry with BPF_NOEXIST owns what it stands for; the inbound entry is the allocation of the public port. Freed
 * records are reused at once, so every entry carries the record's generation, and an entry with an old one leads nowhere.
 */
#pragma once
#include <linux/errno.h>
#include "crowds.h"
#include "limits.h"
#include "maps.h"

static __always_inline __u64 now_ns(const struct config *config)
{
	return bpf_ktime_get_coarse_ns() + config->clock_offset;
}

static __always_inline int owned(__u32 slot)
{
	struct slot *s = bpf_map_lookup_elem(&slots, &slot);

	return s && s->holder == SELF;
}

static __always_inline struct record *record_of(const struct flow *flow)
{
	__u32 index = flow->record;
	struct record *r = bpf_map_lookup_elem(&records, &index);

	return r && r->generation == flow->generation ? r : 0;
}

/* The keys of the entries that lead to a record. Inbound packets carry no network: public addresses are everybody's. */
static __always_inline struct flow_key outbound_key(const struct record *r)
{
	return (struct flow_key){
		.source = r->inside_address,
		.destination = r->remote_address,
		.source_port = r->inside_port,
		.destination_port = r->remote_port,
		.protocol_network = r->protocol_network,
	};
}

static __always_inline struct flow_key inbound_key(const struct record *r)
{
	return (struct flow_key){
		.source = r->remote_address,
		.destination = r->public_address,
		.source_port = r->remote_port,
		.destination_port = r->public_port,
		.protocol_network = r->protocol_network & 0xff,
	};
}

static __always_inline struct sweeper *get_sweeper(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sweeper, &zero);
}

static __always_inline struct record *take_record(__u32 *index)
{
	struct sweeper *s = get_sweeper();

	if (!s)
		return 0;
	if (bpf_map_pop_elem(&free_records, index)) {
		*index = __sync_fetch_and_add(&s->high_water, 1);
		if (!bpf_map_lookup_elem(&records, index)) {
			__sync_fetch_and_sub(&s->high_water, 1);
			return 0;
		}
	}
	__sync_fetch_and_add(&s->in_use, 1);
	return bpf_map_lookup_elem(&records, index);
}

static __always_inline void give_back(struct record *r, __u32 index)
{
	struct sweeper *s = get_sweeper();

	r->kind = FREE;
	r->generation++;
	bpf_map_push_elem(&free_records, &index, 0);
	if (s)
		__sync_fetch_and_sub(&s->in_use, 1);
}

/* Ends a record: first nobody can find it any more, then it may be reused. */
static __always_inline void free_record(struct record *r, __u32 index)
{
	struct flow_key in = inbound_key(r), out = outbound_key(r);

	if (r->kind != PERMISSION)
		bpf_map_delete_elem(&flows, &out);
	bpf_map_delete_elem(&flows, &in);
	if (holds_port(r))
		leave_crowd(&in);
	if (r->counted)
		discharge(r);
	give_back(r, index);
}

static __always_inline int insert(struct flow_key *key, __u32 index, const struct record *r, enum direction direction)
{
	struct flow flow = { .record = index, .generation = r->generation, .direction = direction };

	return bpf_map_update_elem(&flows, key, &flow, BPF_NOEXIST);
}
