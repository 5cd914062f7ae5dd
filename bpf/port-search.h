/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The search for a free port: it costs the same however many are taken, and finds one whenever there is one. */
#pragma once
#include "crowds.h"
#include "port-hash.h"
#include "records.h"
#include "slots.h"
#include "static-mappings.h"

/* A prime that divides no number of ports a slot can have, so that its multiples reach all of them; about the golden section of all ports. */
#define PORT_STRIDE 39869
#define PLACES 3
#define CROWDS (USABLE_PORTS / CROWD_PORTS)

/* All offsets are those of ports from FIRST_PORT on. */
struct port_search {
	struct flow_key key;	/* inbound; its destination port is what is looked for */
	struct flow flow;
	__u32 from, count;	/* the range that is searched */
	__u32 start;		/* where in the range to begin */
	__u32 tried;
	__u32 at, end;		/* the part of the range that is to be tried in order */
	__u32 wraps;		/* whether the part before it is still to come */
	__u32 doubts;		/* whether what is known of the ports may be forgotten */
	__u32 protocol;		/* where ports may be forwards', else 0 */
	enum counter failed;	/* 0 = a port was found; otherwise why not (so far) */
};

/* Tries to take a port. Returns 0, or -EEXIST when it is taken, or another error. */
static __always_inline long take(struct port_search *s, __u32 offset)
{
	s->key.destination_port = bpf_htons(FIRST_PORT + offset);

	long error = bpf_map_update_elem(&flows, &s->key, &s->flow, BPF_NOEXIST);

	if (error != -EEXIST)
		s->failed = error ? DROP_TABLE_FULL : 0;
	return error;
}

static __always_inline int is_reserved(const struct port_search *s, __u32 offset)
{
	return s->protocol && is_forwarded(s->key.destination, bpf_htons(FIRST_PORT + offset), s->protocol);
}

static __always_inline int try_port(struct port_search *s, __u32 offset)
{
	return !is_reserved(s, offset) && take(s, offset) != -EEXIST;
}

/* Places that the hash names: with luck, there is one without asking what is taken. */
static long try_place(__u32 unused, struct port_search *s)
{
	return try_port(s, s->from + (s->start + s->tried++ * PORT_STRIDE) % s->count);
}

/* Tries the next port that is not known to be taken, or goes on to where the next one may be. */
static long try_next(__u32 unused, struct port_search *s)
{
	if (s->at >= s->end) {
		if (!s->wraps)
			return 1;
		s->wraps = 0;
		s->at = s->from;
		s->end = s->from + s->start;
		return 0;
	}

	__u32 offset = s->at;

	s->key.destination_port = first_of_crowd(offset);

	struct crowd *c = ensure_crowd(&s->key);

	if (c) {
		if (s->doubts)
			doubt(c);
		offset = first_unknown(c, offset);
		if (offset >= s->end || offset / CROWD_PORTS != s->at / CROWD_PORTS) {
			s->at = offset;
			return 0;
		}
	}
	s->at = offset + 1;
	if (is_reserved(s, offset))
		return 0;
	s->key.destination_port = bpf_htons(FIRST_PORT + offset);

	/* What is not known yet is mostly taken; a look is cheaper than an attempt, which locks. */
	long error = bpf_map_lookup_elem(&flows, &s->key) ? -EEXIST : take(s, offset);

	if (c && (!error || error == -EEXIST)) {
		note_taken(c, offset);
		/* It may have been given back before this was noted. */
		if (error && !bpf_map_lookup_elem(&flows, &s->key))
			note_free(c, offset);
	}
	return error != -EEXIST;
}

/* All ports of the range in order, beginning where the hash says. Each step tries one, or leaves a crowd or a part behind. */
static __always_inline void search_in_order(struct port_search *s)
{
	s->at = s->from + s->start;
	s->end = s->from + s->count;
	s->wraps = 1;
	bpf_loop(s->count + CROWDS + 4, try_next, s, 0);
}

/*
 * Takes a free port for a record, of `count` ones from the offset `from` on; `protocol` is given where some may be forwards'. Returns 0, or the counter of
 * the reason why there is none. A global function, so that the verifier looks at it once, by itself.
 */
__noinline int search_port(struct record *r, __u32 index, __u32 from, __u32 count, __u32 protocol)
{
	if (!r || !count)
		return DROP_NO_PORT;

	struct port_search s = {
		.key = inbound_key(r),
		.flow = { .record = index, .generation = r->generation, .direction = INBOUND },
		.from = from,
		.count = count,
		.protocol = protocol,
		.failed = DROP_NO_PORT,
	};
	/* UDP whose mapping depends on the remote must not look as if it did not, only because ports are plenty (RFC 4787 REQ-11). */
	int preserves = (r->protocol_network & 0xff & ~COVERING) != IPPROTO_UDP || !r->remote_address;

	if (!preserves || !try_port(&s, from + (__u16)(bpf_ntohs(r->inside_port) - FIRST_PORT) % count)) {
		s.start = port_hash(r) % count;
		bpf_loop(PLACES, try_place, &s, 0);
		if (s.failed == DROP_NO_PORT)
			search_in_order(&s);
		if (s.failed == DROP_NO_PORT) {
			s.doubts = 1;
			search_in_order(&s);
		}
	}
	r->public_port = s.key.destination_port;
	return s.failed;
}
