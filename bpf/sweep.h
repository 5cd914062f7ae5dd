/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Expiry. One kernel timer goes round all records that were ever used in about two seconds, a part at every tick, whether an
 * agent runs or not.
 */
#pragma once
#include "held-fragments.h"
#include "sessions.h"

#define TICK_NS 50000000ULL	/* 50 ms */
#define TICKS_PER_ROUND 40

static __always_inline enum protocol_timeout timeout_of(const struct record *r)
{
	switch (r->protocol_network & 0xff) {
	case IPPROTO_TCP:
		/* Closed by one side alone it may go on for long. */
		if (is_over(r))
			return TCP_TRANSITORY;
		return r->tcp_out & r->tcp_in & SEEN_SYN ? TCP_ESTABLISHED : TCP_HALF_OPEN;
	case IPPROTO_UDP:
		return UDP_IDLE;
	default:
		return ICMP_IDLE;
	}
}

static __always_inline int ended(const struct record *r, __u64 now)
{
	__u64 seen = r->seen_out;
	__u32 gateway_index = r->gateway;
	struct gateway *gateway = bpf_map_lookup_elem(&gateways, &gateway_index);

	if (!gateway || !gateway->address_count || !owned(r->slot))
		return 1;
	/* UDP from outside keeps nothing alive unless told (RFC 4787 REQ-6). */
	if (r->seen_in > seen && ((r->protocol_network & 0xff) != IPPROTO_UDP || gateway->inbound_refreshes_udp))
		seen = r->seen_in;
	/* Another CPU may have noted a packet after `now` was read. */
	return now > seen && now - seen >= gateway->timeouts[timeout_of(r)] * 1000000000ULL;
}

struct sweep {
	__u64 now;
	__u32 from;
};

static long sweep_record(__u32 i, struct sweep *sweep)
{
	__u32 index = sweep->from + i;
	struct record *r = bpf_map_lookup_elem(&records, &index);

	if (!r)
		return 1;
	if (r->kind == SESSION && ended(r, sweep->now))
		end_session(r, index, sweep->now);
	else if (r->kind == MAPPING)
		end_rest(r, index, sweep->now);
	return 0;
}

static int tick(void *map, __u32 *key, struct sweeper *s)
{
	struct config *config = get_config();

	if (config) {
		struct sweep sweep = { .now = now_ns(config), .from = s->cursor };
		__u32 part = s->high_water / TICKS_PER_ROUND + 1;

		if (!s->cursor)
			sweep_fragments(sweep.now);
		bpf_loop(part, sweep_record, &sweep, 0);
		s->cursor = sweep.from + part >= s->high_water ? 0 : sweep.from + part;
		s->last_run = bpf_ktime_get_coarse_ns();
	}
	bpf_timer_start(&s->timer, TICK_NS, 0);
	return 0;
}

/* Starts the timer with this program's version of `tick`, or takes it over from an older program. */
static __always_inline long start_sweeper(void)
{
	__u32 zero = 0;
	struct sweeper *s = bpf_map_lookup_elem(&sweeper, &zero);
	long error;

	if (!s)
		return -ENOENT;
	error = bpf_timer_init(&s->timer, &sweeper, 1 /* CLOCK_MONOTONIC */);
	if (error && error != -EBUSY)
		return error;
	error = bpf_timer_set_callback(&s->timer, tick);
	s->last_run = bpf_ktime_get_coarse_ns();
	return error ? error : bpf_timer_start(&s->timer, TICK_NS, 0);
}

static __always_inline long sweep_all(void)
{
	__u32 zero = 0;
	struct sweeper *s = bpf_map_lookup_elem(&sweeper, &zero);
	struct config *config = get_config();

	if (!s || !config)
		return -ENOENT;

	struct sweep sweep = { .now = now_ns(config) };

	sweep_fragments(sweep.now);
	return bpf_loop(s->high_water, sweep_record, &sweep, 0);
}
