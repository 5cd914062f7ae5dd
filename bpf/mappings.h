/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Mappings and permissions: which flows of an endpoint share a public port, and whose packets come in through it. Both are records with
 * entries of their own (COVERING). A session has at most one as its parent, and a permission always its mapping.
 */
#pragma once
#include "packet.h"
#include "port-search.h"
#include "records.h"

static __always_inline enum dependence mapping_of(const struct gateway *gateway, __u8 protocol)
{
	if (protocol == IPPROTO_UDP)
		return gateway->mapping[UDP_PORTS];
	return protocol == IPPROTO_TCP ? gateway->mapping[TCP_PORTS] : ADDRESS_AND_PORT_DEPENDENT;
}

static __always_inline enum dependence filtering_of(const struct gateway *gateway, __u8 protocol)
{
	if (protocol == IPPROTO_UDP)
		return gateway->filtering[UDP_PORTS];
	return protocol == IPPROTO_TCP ? gateway->filtering[TCP_PORTS] : ADDRESS_AND_PORT_DEPENDENT;
}

/* Makes a session's record that of what covers it: of the remote only as much as it depends on. */
static __always_inline void cover(struct record *r, enum dependence dependence)
{
	r->protocol_network |= COVERING;
	if (dependence != ADDRESS_AND_PORT_DEPENDENT)
		r->remote_port = 0;
	if (dependence == ENDPOINT_INDEPENDENT)
		r->remote_address = 0;
}

/* How long a port rests (ns): only where anybody's packets came in, so that they do not come in to somebody else (RFC 6888 REQ-8). */
static __always_inline __u64 hold_down(const struct record *m)
{
	__u32 index = m->gateway;
	struct gateway *gateway = bpf_map_lookup_elem(&gateways, &index);

	if (!gateway || !gateway->address_count || !owned(m->slot) ||
	    filtering_of(gateway, m->protocol_network & 0xff & ~COVERING) != ENDPOINT_INDEPENDENT)
		return 0;
	return gateway->hold_down * 1000000000ULL;
}

/* One child of a mapping or permission is gone. The last takes its parent along, unless its port has to rest. */
static __noinline void release(__u32 index, __u64 now)
{
	for (int level = 0; level < 2; level++) {
		struct record *r = bpf_map_lookup_elem(&records, &index);

		if (!r || (r->kind != MAPPING && r->kind != PERMISSION))
			return;

		__u32 parent = r->parent;
		int rests = r->kind == MAPPING && hold_down(r);

		if (rests)
			r->seen_out = now;
		if (__sync_fetch_and_sub(&r->references, 1) != 1 || rests || !kill(&r->references))
			return;
		free_record(r, index);
		index = parent;
	}
}

/* Frees a mapping without sessions whose port has rested for long enough. */
static __always_inline void end_rest(struct record *m, __u32 index, __u64 now)
{
	if (m->references || (now > m->seen_out ? now - m->seen_out : 0) < hold_down(m))
		return;
	if (kill(&m->references))
		free_record(m, index);
}

/* The ports that a record's endpoint may have in its slot: all of them, or its block if that is there. Returns how many, from offset *from on. */
static __always_inline __u32 ports_for(const struct record *r, const struct gateway *gateway, const struct public_address *address,
				       __u32 *from)
{
	*from = (r->slot - address->first_slot) * address->ports_per_slot;
	if (r->slot == NO_SLOT)
		return 0;
	if (!gateway->ports_per_endpoint)
		return address->ports_per_slot;

	struct source *source = source_of(r->protocol_network >> 8, r->inside_address);

	if (!source)
		return 0;

	struct block block = block_of(gateway, source->index_offset + bpf_ntohl(r->inside_address));

	*from = block.first - FIRST_PORT;
	return block.address == r->public_address && address->first_slot + block.slot == r->slot ? gateway->ports_per_endpoint : 0;
}

/* Takes a free port of the slot for this record. Returns 0 or the counter of the reason why there is none. */
static __always_inline enum counter take_port(struct record *r, __u32 index, const struct gateway *gateway,
					      const struct public_address *address)
{
	enum counter failed = r->counted ? charge_port(r, gateway) : 0;
	__u32 from, count = ports_for(r, gateway, address, &from);

	if (failed)
		return failed;

	int found = search_port(r, index, from, count, address->has_forwards ? r->protocol_network & 0xff & ~COVERING : 0);

	if (!found)
		return 0;
	if (r->counted)
		discharge_port(r);
	/* Of what a global function returns the verifier knows nothing. */
	return found == DROP_TABLE_FULL ? DROP_TABLE_FULL : DROP_NO_PORT;
}

/*
 * A new child for the mapping that covers it, made if there is none. Returns 0 or the counter of the reason why there is none; the
 * session takes over where the mapping leads.
 */
static __always_inline enum counter refer(struct record *session, enum dependence dependence, const struct gateway *gateway,
					  const struct public_address *address)
{
	struct record wanted = *session;
	__u32 index;

	cover(&wanted, dependence);

	struct flow_key key = outbound_key(&wanted);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	if (flow) {
		struct record *m = record_of(flow);

		/* Its slot moved away and it was not swept yet, or it is being freed. */
		if (!m || !owned(m->slot) || take_reference(&m->references))
			return DROP_NO_PORT;
		/* The endpoint keeps its mapping even when the slot functions would choose another slot by now. */
		session->parent = flow->record;
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

	enum counter failed = take_port(m, index, gateway, address);

	if (failed) {
		give_back(m, index);
		return failed;
	}
	if (insert(&key, index, m, OUTBOUND)) {
		key = inbound_key(m);
		bpf_map_delete_elem(&flows, &key);
		if (m->counted)
			discharge_port(m);
		give_back(m, index);
		return DROP_TABLE_FULL;
	}
	session->parent = index;
	session->public_port = m->public_port;
	return 0;
}

/* Puts the permission of the remote's address between a mapping and its new child. */
static __always_inline enum counter permit(struct record *session)
{
	struct record wanted = *session;
	__u32 index = session->parent;

	cover(&wanted, ADDRESS_DEPENDENT);

	struct flow_key key = inbound_key(&wanted);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	if (flow) {
		struct record *p = record_of(flow), *m = bpf_map_lookup_elem(&records, &index);

		if (!p || !m || p->kind != PERMISSION || p->parent != index || take_reference(&p->references))
			return DROP_TABLE_FULL;
		__sync_fetch_and_sub(&m->references, 1);
		session->parent = flow->record;
		return 0;
	}

	struct record *p = take_record(&index);

	if (!p)
		return DROP_TABLE_FULL;
	wanted.generation = p->generation;
	wanted.kind = PERMISSION;
	wanted.counted = 0;
	wanted.references = 1;
	*p = wanted;
	if (insert(&key, index, p, INBOUND)) {
		give_back(p, index);
		return DROP_TABLE_FULL;
	}
	session->parent = index;
	return 0;
}

/*
 * Takes back a reference of a session that could not be made. What the session would have been the first child of goes; what was there
 * without children before rests on as it did.
 */
static __always_inline void give_up(struct record *session)
{
	__u32 index = session->parent;

	for (int level = 0; level < 2; level++) {
		struct record *r = bpf_map_lookup_elem(&records, &index);

		if (!r || (r->kind != MAPPING && r->kind != PERMISSION))
			return;

		__u32 parent = r->parent;

		if (__sync_fetch_and_sub(&r->references, 1) != 1 || (r->kind == MAPPING && r->seen_out) || !kill(&r->references))
			return;
		free_record(r, index);
		index = parent;
	}
}

/* Gives a new session its public port, by itself or through a mapping, and its inbound entry. Returns 0 or the counter of the reason why not. */
static __always_inline enum counter map_flow(struct record *r, __u32 index, const struct gateway *gateway,
					     const struct public_address *address)
{
	__u8 protocol = r->protocol_network & 0xff;
	enum dependence mapping = mapping_of(gateway, protocol);

	if (mapping == ADDRESS_AND_PORT_DEPENDENT)
		return take_port(r, index, gateway, address);

	enum counter failed = refer(r, mapping, gateway, address);

	if (failed)
		return failed;
	if (mapping == ENDPOINT_INDEPENDENT && filtering_of(gateway, protocol) == ADDRESS_DEPENDENT)
		failed = permit(r);

	struct flow_key in = inbound_key(r);

	if (!failed && insert(&in, index, r, INBOUND))
		failed = DROP_TABLE_FULL;
	if (failed)
		give_up(r);
	return failed;
}

/* The mapping or permission that stands under a key and has sessions, in a slot of ours. */
static __always_inline struct record *live_at(const struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	struct record *r = flow ? record_of(flow) : 0;

	if (!r || (r->kind != MAPPING && r->kind != PERMISSION) || !r->references || r->references & DEAD)
		return 0;
	return owned(r->slot) ? r : 0;
}

/* What lets in a packet from a remote that has no session; 0 when nothing does. */
static __always_inline struct record *admitting(const struct gateway *gateway, __u8 protocol, __be32 remote, __be32 address,
						__be16 port)
{
	enum dependence filtering = filtering_of(gateway, protocol);
	struct flow_key key = {
		.source = filtering == ENDPOINT_INDEPENDENT ? 0 : remote,
		.destination = address,
		.destination_port = port,
		.protocol_network = protocol | COVERING,
	};

	/* An address of zeros, which no remote has, would pass for any. */
	if (filtering == ADDRESS_AND_PORT_DEPENDENT || (filtering == ADDRESS_DEPENDENT && !remote))
		return 0;
	return live_at(&key);
}

/* The mapping that a new flow of the endpoint would be a child of, if it has sessions; 0 when there is none. */
static __always_inline struct record *covering_mapping(const struct packet *p, __u32 network, const struct gateway *gateway)
{
	enum dependence mapping = mapping_of(gateway, p->protocol);
	struct flow_key key = {
		.source = p->source,
		.destination = mapping == ENDPOINT_INDEPENDENT ? 0 : p->destination,
		.source_port = p->source_port,
		.destination_port = mapping == ADDRESS_AND_PORT_DEPENDENT ? p->destination_port : 0,
		.protocol_network = p->protocol | COVERING | network << 8,
	};

	return live_at(&key);
}

/* What let in the packet that an outbound one without a session answers. */
static __always_inline struct record *answered_through(const struct packet *p, __u32 network, const struct gateway *gateway)
{
	struct record *m = covering_mapping(p, network, gateway);

	return m ? admitting(gateway, p->protocol, p->destination, m->public_address, m->public_port) : 0;
}
