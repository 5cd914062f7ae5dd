/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sessions: finding, noting, making and ending them. */
#pragma once
#include "gateway-counts.h"
#include "mappings.h"
#include "packet.h"
#include "records.h"
#include "session-log.h"

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

static __always_inline int is_over(const struct record *r)
{
	return (r->tcp_out | r->tcp_in) & SEEN_RST || r->tcp_out & r->tcp_in & SEEN_FIN;
}

/*
 * A SYN begins a connection anew that was over. Anything else but a reset, after a reset, says that this one was not believed by the other
 * side (RFC 7857, section 2.2): the connection goes on.
 */
static __always_inline void revive(struct record *r, __u8 flags)
{
	__u8 kept = flags & SEEN_SYN ? 0 : SEEN_SYN | SEEN_FIN;

	r->tcp_out &= kept;
	r->tcp_in &= kept;
}

static __always_inline void note(struct record *r, const struct packet *p, enum direction direction, __u64 now)
{
	__u8 flags = p->tcp_flags & (SEEN_SYN | SEEN_FIN | SEEN_RST);

	if (is_over(r) && !(flags & SEEN_RST))
		revive(r, flags);
	if (direction == OUTBOUND) {
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

static __always_inline void end_session(struct record *r, __u32 index, __u64 now)
{
	__u32 parent = r->parent, gateway = r->gateway;

	log_session(r, SESSION_ENDS, now);
	free_record(r, index);
	if (parent != NO_PARENT)
		release(parent, now);
	count_for(gateway, SESSIONS_EXPIRED, 0);
}

/*
 * The session that stands in the way of a new one with the same endpoint and remote is left from before its slot moved away:
 * it is ended now rather than at the next sweep. (If it is not stale, another CPU made it a moment ago, and it stays.)
 */
static __always_inline void end_stale(struct flow_key *key, __u64 now)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	struct record *r = flow ? record_of(flow) : 0;

	if (!r || owned(r->slot))
		return;
	end_session(r, flow->record, now);
}

/* What TCP flags ask for where no connection is known. */
enum opening { OPENS, ACCEPTS, REFUSES, NO_OPENING };

static __always_inline enum opening opening_of(const struct packet *p)
{
	if (p->protocol != IPPROTO_TCP)
		return OPENS;
	if (p->tcp_flags & SEEN_RST)
		return REFUSES;
	switch (p->tcp_flags & (SEEN_SYN | SEEN_ACK | SEEN_FIN)) {
	case SEEN_SYN:
		return OPENS;
	case SEEN_SYN | SEEN_ACK:
		return ACCEPTS;
	default:
		return NO_OPENING;
	}
}

/* Gives a new session its public port and its two entries. Returns 0 or the counter of the reason why it cannot be had. */
static __always_inline enum counter establish(struct record *r, __u32 index, const struct gateway *gateway,
					      const struct public_address *address, __u64 now)
{
	enum counter failed = map_flow(r, index, gateway, address);

	if (failed)
		return failed;

	struct flow_key out = outbound_key(r);

	if (!insert(&out, index, r, OUTBOUND))
		return 0;
	end_stale(&out, now);
	if (!insert(&out, index, r, OUTBOUND))
		return 0;

	struct flow_key in = inbound_key(r);

	bpf_map_delete_elem(&flows, &in);
	if (r->parent == NO_PARENT && r->counted)
		discharge_port(r);
	give_up(r);
	return DROP_TABLE_FULL;
}

/*
 * Makes the session of an outbound packet in a slot of ours, `accepting` the SYN that the remote has sent. Returns 0 with *session set,
 * or the counter of the reason why not.
 */
static __always_inline enum counter create_session(const struct packet *p, __u32 network, __u32 slot, __be32 public,
						   const struct gateway *gateway, const struct public_address *address,
						   int accepting, __u64 now, struct record **session)
{
	__u32 index;
	struct record *r = take_record(&index);

	if (!r)
		return DROP_TABLE_FULL;
	r->inside_address = p->source;
	r->inside_port = p->source_port;
	r->public_address = public;
	r->remote_address = p->destination;
	r->remote_port = p->destination_port;
	r->protocol_network = p->protocol | network << 8;
	r->slot = slot;
	r->gateway = address->gateway;
	r->parent = NO_PARENT;
	r->references = 0;
	r->counted = has_limits(gateway);
	r->tcp_out = 0;
	r->tcp_in = accepting ? SEEN_SYN : 0;
	r->seen_out = r->seen_in = 0;

	enum counter failed = r->counted ? charge_session(r, gateway, now) : 0;

	if (!failed) {
		failed = establish(r, index, gateway, address, now);
		if (failed && r->counted)
			discharge_session(r);
	}
	if (failed) {
		give_back(r, index);
		return failed;
	}
	if (r->counted)
		pay_session(r, gateway, now);
	r->seen_out = now;
	r->kind = SESSION;
	*session = r;
	log_session(r, SESSION_BEGINS, now);
	count_for(r->gateway, SESSIONS_CREATED, 0);
	return 0;
}
