/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What one endpoint may have of what all share (RFC 6888 REQ-4 and REQ-5): so many sessions and ports at a time, and so many new sessions a
 * second. Endpoints of gateways without limits are not counted, and cost nothing.
 */
#pragma once
#include "maps.h"

struct endpoint_key {
	__u32 network;
	__be32 address;
};

struct endpoint {
	__u64 paid_until;	/* each session moves it on by 1/rate; it may lie ahead of now by what a burst takes */
	__u32 references;	/* records that are counted here; the last takes this along */
	__u32 sessions;
	__u32 ports;
};

/* As large as `records`: every endpoint has a record at least. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEFAULT_SESSIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

static __always_inline int has_limits(const struct gateway *gateway)
{
	return gateway->endpoint_sessions || gateway->endpoint_ports || gateway->endpoint_session_rate;
}

static __always_inline struct endpoint_key endpoint_of(const struct record *r)
{
	return (struct endpoint_key){ .network = r->protocol_network >> 8, .address = r->inside_address };
}

static __always_inline int take_reference(__u32 *references)
{
	if (!(__sync_fetch_and_add(references, 1) & DEAD))
		return 0;
	__sync_fetch_and_sub(references, 1);
	return -1;
}

/* Whether what has no references is now ours to free. */
static __always_inline int kill(__u32 *references)
{
	return __sync_val_compare_and_swap(references, 0, DEAD) == 0;
}

static __always_inline struct endpoint *find_endpoint(const struct endpoint_key *key)
{
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, key);
	struct endpoint fresh = {};

	if (e)
		return e;
	bpf_map_update_elem(&endpoints, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&endpoints, key);
}

/* Whether a session or mapping has its port for itself, rather than by its parent. */
static __always_inline int holds_port(const struct record *r)
{
	return r->kind == MAPPING || (r->kind == SESSION && r->parent == NO_PARENT);
}

static __always_inline void release_endpoint(struct endpoint *e, const struct endpoint_key *key)
{
	if (__sync_fetch_and_sub(&e->references, 1) == 1 && kill(&e->references))
		bpf_map_delete_elem(&endpoints, key);
}

/* Counts a session that is about to be made. Returns 0 or the counter of the limit that it meets. */
static __always_inline enum counter charge_session(const struct record *r, const struct gateway *gateway, __u64 now)
{
	struct endpoint_key key = endpoint_of(r);
	struct endpoint *e = find_endpoint(&key);
	enum counter failed = 0;

	if (!e || take_reference(&e->references))
		return DROP_TABLE_FULL;
	if (gateway->endpoint_session_rate) {
		__u64 interval = 1000000000ULL / gateway->endpoint_session_rate;
		__u64 ahead = e->paid_until > now ? e->paid_until - now : 0;

		if (ahead + interval > gateway->endpoint_session_burst * interval)
			failed = DROP_LIMIT_RATE;
	}
	if (!failed && __sync_fetch_and_add(&e->sessions, 1) >= gateway->endpoint_sessions && gateway->endpoint_sessions) {
		__sync_fetch_and_sub(&e->sessions, 1);
		failed = DROP_LIMIT_SESSIONS;
	}
	if (failed)
		release_endpoint(e, &key);
	return failed;
}

/* A session that was counted is there: it uses up its share of the rate. */
static __always_inline void pay_session(const struct record *r, const struct gateway *gateway, __u64 now)
{
	struct endpoint_key key = endpoint_of(r);
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &key);

	if (!e || !gateway->endpoint_session_rate)
		return;
	if (e->paid_until < now)
		e->paid_until = now;
	__sync_fetch_and_add(&e->paid_until, 1000000000ULL / gateway->endpoint_session_rate);
}

/* Counts a port that is about to be looked for; a mapping is counted by itself, beside its sessions. */
static __always_inline enum counter charge_port(const struct record *r, const struct gateway *gateway)
{
	struct endpoint_key key = endpoint_of(r);
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &key);

	if (!e)
		return DROP_TABLE_FULL;
	if (__sync_fetch_and_add(&e->ports, 1) >= gateway->endpoint_ports && gateway->endpoint_ports) {
		__sync_fetch_and_sub(&e->ports, 1);
		return DROP_LIMIT_PORTS;
	}
	if (r->kind == MAPPING)
		__sync_fetch_and_add(&e->references, 1);
	return 0;
}

static __always_inline void discharge_port(const struct record *r)
{
	struct endpoint_key key = endpoint_of(r);
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &key);

	if (!e)
		return;
	__sync_fetch_and_sub(&e->ports, 1);
	if (r->kind == MAPPING)
		release_endpoint(e, &key);
}

static __always_inline void discharge_session(const struct record *r)
{
	struct endpoint_key key = endpoint_of(r);
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &key);

	if (!e)
		return;
	__sync_fetch_and_sub(&e->sessions, 1);
	release_endpoint(e, &key);
}

/* The endpoint has one record less. */
static __noinline void discharge(const struct record *r)
{
	if (holds_port(r))
		discharge_port(r);
	if (r->kind == SESSION)
		discharge_session(r);
}
