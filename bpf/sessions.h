/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sessions and mappings: finding, making and ending them.
 *
 * A record is reached through its two entries in `flows`. Whoever inserts an entry with BPF_NOEXIST owns what it stands for; the
 * inbound entry is the allocation of the public port. Freed records are reused at once, so every entry carries the record's
 * generation, and an entry with an old one leads nowhere.
 */
#pragma once
#include <linux/errno.h>
#include "maps.h"
#include "packet.h"
#include "slots.h"

static __always_inline __u64 now_ns(const struct config *config)
{
	return bpf_ktime_get_coarse_ns() + config->clock_offset;
}

static __always_inline int owned(__u32 slot)
{
	struct slot *s = bpf_map_lookup_elem(&slots, &slot);

	return s && s->owner == SELF;
}

static __always_inline struct record *record_of(const struct flow *flow)
{
	__u32 index = flow->record;
	struct record *r = bpf_map_lookup_elem(&records, &index);

	return r && r->generation == flow->generation ? r : 0;
}

/* The session of this packet, if it is known in this direction and its slot is still ours. */
static __always_inline struct record *find_session(const struct packet *p, __u32 network, enum direction direction)
{
	struct flow_key key = {
		.source = p->source,
		.destination = p->destination,
		.source_port = p->source_port,
		.destination_port = p->destination_port,
		.protocol_network = p->protocol | network << 8,
	};
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	if (!flow || flow->direction != direction)
		return 0;

	struct record *r = record_of(flow);

	return r && r->kind == SESSION && owned(r->slot) ? r : 0;
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

static __always_inline void note(struct record *r, const struct packet *p, enum direction direction, __u64 now)
{
	__u8 flags = p->tcp_flags & (SEEN_SYN | SEEN_FIN | SEEN_RST);

	if (direction == OUTBOUND) {
		if (flags & SEEN_SYN && ((r->tcp_out | r->tcp_in) & SEEN_RST || r->tcp_out & r->tcp_in & SEEN_FIN))
			r->tcp_out = r->tcp_in = 0;
		/* Written only when it changes, so that a busy session does not keep its cache line moving between CPUs. */
		if (r->seen_out != now)
			r->seen_out = now;
		if ((r->tcp_out | flags) != r->tcp_out)
			r->tcp_out |= flags;
	} else {
		if (r->seen_in != now)
			r->seen_in = now;
		if ((r->tcp_in | flags) != r->tcp_in)
			r->tcp_in |= flags;
	}
}

static __always_inline struct record *take_record(__u32 *index)
{
	if (bpf_map_pop_elem(&free_records, index)) {
		__u32 zero = 0;
		struct sweeper *s = bpf_map_lookup_elem(&sweeper, &zero);

		if (!s)
			return 0;
		*index = __sync_fetch_and_add(&s->high_water, 1);
		if (!bpf_map_lookup_elem(&records, index)) {
			__sync_fetch_and_sub(&s->high_water, 1);
			return 0;
		}
	}
	return bpf_map_lookup_elem(&records, index);
}

static __always_inline void give_back(struct record *r, __u32 index)
{
	r->kind = FREE;
	r->generation++;
	bpf_map_push_elem(&free_records, &index, 0);
}

/* Ends a record: first nobody can find it any more, then it may be reused. */
static __always_inline void free_record(struct record *r, __u32 index)
{
	struct flow_key in = inbound_key(r), out = outbound_key(r);

	bpf_map_delete_elem(&flows, &out);
	bpf_map_delete_elem(&flows, &in);
	give_back(r, index);
}

static __always_inline void release_mapping(__u32 index)
{
	struct record *m = bpf_map_lookup_elem(&records, &index);

	if (!m || m->kind != MAPPING)
		return;
	if (__sync_fetch_and_sub(&m->references, 1) == 1 &&
	    __sync_val_compare_and_swap(&m->references, 0, DEAD_MAPPING) == 0)
		free_record(m, index);
}

static __always_inline void end_session(struct record *r, __u32 index)
{
	__u32 mapping = r->mapping;

	free_record(r, index);
	if (mapping != NO_MAPPING)
		release_mapping(mapping);
	count(SESSIONS_EXPIRED, 0);
}

/* A prime that divides no number of ports a slot can have, so that its multiples reach all of them; about the golden section of all ports. */
#define PORT_STRIDE 39869

struct port_search {
	struct flow_key key;	/* inbound; its destination port is what is looked for */
	struct flow flow;
	__u32 first, count;
	__u32 preferred, start;	/* offsets: the port to try first, and where to go on from */
	enum counter failed;	/* 0 = a port was found; otherwise why not (so far) */
};

static long try_port(__u32 i, struct port_search *s)
{
	__u32 offset = i ? (s->start + (i - 1) * PORT_STRIDE) % s->count : s->preferred;

	s->key.destination_port = bpf_htons(s->first + offset);

	long error = bpf_map_update_elem(&flows, &s->key, &s->flow, BPF_NOEXIST);

	if (error == -EEXIST)
		return 0;
	s->failed = error ? DROP_TABLE_FULL : 0;
	return 1;
}

/* Takes a free port of the slot for this record: the source port's image in it, or the first that is found from elsewhere on. */
static __always_inline enum counter take_port(struct record *r, __u32 index, const struct public_address *address)
{
	struct port_search search = {
		.key = inbound_key(r),
		.flow = { .record = index, .generation = r->generation, .direction = INBOUND },
		.first = first_port_of(r->slot, address),
		.count = address->ports_per_slot,
		.failed = DROP_NO_PORT,
	};

	if (!search.count)
		return DROP_NO_OWNER;
	search.preferred = (__u16)(bpf_ntohs(r->inside_port) - FIRST_PORT) % search.count;
	/* Elsewhere for each endpoint, so that those who like the same ports do not queue up behind each other. */
	search.start = mix32(mix32(bpf_ntohl(r->inside_address)) ^ bpf_ntohs(r->inside_port)) % search.count;
	bpf_loop(search.count + 1, try_port, &search, 0);
	r->public_port = search.key.destination_port;
	return search.failed;
}

static __always_inline int insert(struct flow_key *key, __u32 index, const struct record *r, enum direction direction)
{
	struct flow flow = { .record = index, .generation = r->generation, .direction = direction };

	return bpf_map_update_elem(&flows, key, &flow, BPF_NOEXIST);
}

/* What is common to a session and the mapping that it may need. */
static __always_inline void begin_record(struct record *r, const struct packet *p, __u32 network, __u32 slot,
					 const struct public_address *address)
{
	r->inside_address = p->ip->saddr;
	r->inside_port = p->source_port;
	r->public_address = p->ip->daddr;
	r->remote_address = 0;
	r->remote_port = 0;
	r->protocol_network = p->ip->protocol | network << 8;
	r->slot = slot;
	r->gateway = address->gateway;
	r->mapping = NO_MAPPING;
	r->references = 0;
	r->tcp_out = r->tcp_in = 0;
	r->seen_in = 0;
}

/*
 * The mapping of a UDP endpoint (RFC 4787 REQ-1), made if there is none, with one more reference. Returns 0 or the counter of
 * the reason why there is none; the session takes over where the mapping leads.
 */
static __always_inline enum counter reference_mapping(struct record *session, const struct public_address *address)
{
	struct record wanted = *session;
	__u32 index;

	wanted.remote_address = 0;
	wanted.remote_port = 0;

	struct flow_key key = outbound_key(&wanted);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	if (flow) {
		struct record *m = record_of(flow);

		/* Its slot moved away and it was not swept yet, or it is being freed. */
		if (!m || !owned(m->slot))
			return DROP_NO_PORT;
		if (__sync_fetch_and_add(&m->references, 1) & DEAD_MAPPING) {
			__sync_fetch_and_sub(&m->references, 1);
			return DROP_NO_PORT;
		}
		/* The endpoint keeps its mapping even when the slot functions would choose another slot by now. */
		session->mapping = flow->record;
		session->slot = m->slot;
		session->public_address = m->public_address;
		session->public_port = m->public_port;
		return 0;
	}

	struct record *m = take_record(&index);

	if (!m)
		return DROP_TABLE_FULL;
	wanted.generation = m->generation;
	wanted.kind = MAPPING;
	wanted.references = 1;
	*m = wanted;

	enum counter failed = take_port(m, index, address);

	if (failed) {
		give_back(m, index);
		return failed;
	}
	if (insert(&key, index, m, OUTBOUND)) {
		key = inbound_key(m);
		bpf_map_delete_elem(&flows, &key);
		give_back(m, index);
		return DROP_TABLE_FULL;
	}
	session->mapping = index;
	session->public_port = m->public_port;
	return 0;
}

/*
 * The session that stands in the way of a new one with the same endpoint and remote is left from before its slot moved away:
 * it is ended now rather than at the next sweep. (If it is not stale, another CPU made it a moment ago, and it stays.)
 */
static __always_inline void end_stale(struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	struct record *r = flow ? record_of(flow) : 0;

	if (!r || owned(r->slot))
		return;
	end_session(r, flow->record);
}

/* Gives a new session its public port and its two entries. Returns 0 or the counter of the reason why it cannot be had. */
static __always_inline enum counter establish(struct record *r, __u32 index, const struct public_address *address)
{
	if ((r->protocol_network & 0xff) == IPPROTO_UDP) {
		enum counter failed = reference_mapping(r, address);
		struct flow_key in;

		if (failed)
			return failed;
		in = inbound_key(r);
		if (insert(&in, index, r, INBOUND)) {
			release_mapping(r->mapping);
			return DROP_TABLE_FULL;
		}
	} else {
		enum counter failed = take_port(r, index, address);

		if (failed)
			return failed;
	}

	struct flow_key out = outbound_key(r);

	if (!insert(&out, index, r, OUTBOUND))
		return 0;
	end_stale(&out);
	if (!insert(&out, index, r, OUTBOUND))
		return 0;

	struct flow_key in = inbound_key(r);

	bpf_map_delete_elem(&flows, &in);
	if (r->mapping != NO_MAPPING)
		release_mapping(r->mapping);
	return DROP_TABLE_FULL;
}

/* Makes the session of an outbound packet in a slot of ours. Returns 0 with *session set, or the counter of the reason why not. */
static __always_inline enum counter create_session(const struct packet *p, __u32 network, __u32 slot,
						   __be32 public, const struct public_address *address,
						   __u64 now, struct record **session)
{
	__u32 index;

	if (p->ip->protocol == IPPROTO_TCP && (p->tcp_flags & 0x17) != SEEN_SYN)
		return DROP_NOT_SYN;

	struct record *r = take_record(&index);

	if (!r)
		return DROP_TABLE_FULL;
	begin_record(r, p, network, slot, address);
	r->public_address = public;
	r->remote_address = p->ip->daddr;
	r->remote_port = p->destination_port;
	r->seen_out = now;

	enum counter failed = establish(r, index, address);

	if (failed) {
		give_back(r, index);
		return failed;
	}
	r->kind = SESSION;
	*session = r;
	count(SESSIONS_CREATED, 0);
	return 0;
}
