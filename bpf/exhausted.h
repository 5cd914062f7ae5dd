/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Slots without a free port. A search that finds none has looked at all of them, which is dear (40 ns each); it is noted, so that the next
 * flows of the slot are refused after a few tries, until a port of the slot is given back. The note is for speed only: it never refuses what
 * a search would find, but for a moment when one CPU gives a port back while another searches.
 */
#pragma once
#include "maps.h"

#define EXHAUSTED_NS 100000000ULL	/* 100 ms */
#define FIRST_TRIES 8

/* Where ports are looked for: a slot, toward as much of the remote as the mapping depends on. */
struct search_key {
	__u32 slot;
	__u32 protocol;		/* as in the inbound entries */
	__be32 remote_address;
	__u32 remote_port;
};

/* -> until when nothing is looked for */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct search_key);
	__type(value, __u64);
} exhausted SEC(".maps");

static __always_inline struct search_key search_of(const struct record *r)
{
	return (struct search_key){
		.slot = r->slot,
		.protocol = r->protocol_network & 0xff,
		.remote_address = r->remote_address,
		.remote_port = r->remote_port,
	};
}

static __always_inline int is_exhausted(const struct search_key *key, __u64 now)
{
	__u64 *until = bpf_map_lookup_elem(&exhausted, key);

	return until && now < *until;
}

static __always_inline void note_exhausted(const struct search_key *key, __u64 now)
{
	__u64 until = now + EXHAUSTED_NS;

	bpf_map_update_elem(&exhausted, key, &until, BPF_ANY);
}

/* A port is free again. */
static __noinline void forget_exhausted(const struct record *r)
{
	struct search_key key = search_of(r);

	bpf_map_delete_elem(&exhausted, &key);
}
