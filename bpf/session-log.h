/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The beginnings and ends of sessions, for the agent to write down, of gateways that ask for it. */
#pragma once
#include "gateway-counts.h"
#include "records.h"

enum session_event { SESSION_BEGINS, SESSION_ENDS };

struct session_log_entry {
	__u64 time;
	__be32 inside_address;
	__be32 public_address;
	__be32 remote_address;
	__be16 inside_port;
	__be16 public_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 event;		/* enum session_event */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 * 1024 * 1024);
} session_log SEC(".maps");

/* A function of its own, so that the structure is in the object's BTF, from which the agent takes the layout. */
static __noinline void fill_entry(struct session_log_entry *entry, const struct record *r, __u8 event, __u64 now)
{
	entry->time = now;
	entry->inside_address = r->inside_address;
	entry->public_address = r->public_address;
	entry->remote_address = r->remote_address;
	entry->inside_port = r->inside_port;
	entry->public_port = r->public_port;
	entry->remote_port = r->remote_port;
	entry->protocol = r->protocol_network & 0xff;
	entry->event = event;
}

/* What does not fit is lost, and counted. */
static __noinline void log_session(struct record *r, __u8 event, __u64 now)
{
	__u32 index = r->gateway;
	struct gateway *gateway = bpf_map_lookup_elem(&gateways, &index);

	if (!gateway || !gateway->logs_sessions)
		return;

	struct session_log_entry *entry = bpf_ringbuf_reserve(&session_log, sizeof(*entry), 0);

	if (!entry) {
		count_for(index, LOG_LOST, 0);
		return;
	}
	fill_entry(entry, r, event, now);
	/* The agent looks for itself from time to time: nobody has to be woken. */
	bpf_ringbuf_submit(entry, BPF_RB_NO_WAKEUP);
}
