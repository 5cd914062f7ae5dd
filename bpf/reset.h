/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Fail fast: a TCP segment in the middle of a connection that nobody knows is answered with a reset toward the inside (RFC 9293,
 * section 3.5.2), so that the client reconnects at once rather than waits for its own timers.
 */
#pragma once
#include "forward.h"
#include "packet.h"
#include "sessions.h"

#define RESETS_PER_SECOND 1000	/* of a CPU */

struct reset_limit {
	__u64 second;
	__u64 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reset_limit);
} reset_limits SEC(".maps");

static __always_inline int may_reset(__u64 now)
{
	__u32 zero = 0;
	struct reset_limit *limit = bpf_map_lookup_elem(&reset_limits, &zero);
	__u64 second = now / 1000000000ULL;

	if (!limit)
		return 0;
	if (limit->second != second) {
		limit->second = second;
		limit->sent = 0;
	}
	return limit->sent++ < RESETS_PER_SECOND;
}

struct reset {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static __always_inline __u16 tcp_checksum(const struct reset *r)
{
	const __u16 *addresses = (const __u16 *)&r->ip.saddr, *words = (const __u16 *)&r->tcp;
	__u32 sum = bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(r->tcp));

	for (int i = 0; i < 4; i++)
		sum += addresses[i];
	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Turns the packet into the reset that answers it. Returns 0 if it must not be answered, or cannot be. */
static __always_inline int make_reset(struct xdp_md *ctx, const struct packet *p)
{
	void *end = (void *)(long)ctx->data_end;
	struct reset *r = (void *)(long)ctx->data;
	struct tcphdr *segment = p->l4;

	if ((void *)(r + 1) > end || (void *)(segment + 1) > end || p->tcp_flags & SEEN_RST)
		return 0;

	int has_ack = p->tcp_flags & 0x10;
	__u32 data = p->ip_length - p->ip->ihl * 4 - segment->doff * 4;
	__u32 after = bpf_ntohl(segment->seq) + data + !!(p->tcp_flags & SEEN_SYN) + !!(p->tcp_flags & SEEN_FIN);
	struct reset answer = {
		.eth.h_proto = bpf_htons(ETH_P_IP),
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(answer.ip) + sizeof(answer.tcp)),
			.ttl = 64,
			.protocol = IPPROTO_TCP,
			.saddr = p->destination,
			.daddr = p->source,
		},
		.tcp = {
			.source = p->destination_port,
			.dest = p->source_port,
			.seq = has_ack ? segment->ack_seq : 0,
			.ack_seq = has_ack ? 0 : bpf_htonl(after),
			.doff = 5,
			.rst = 1,
			.ack = !has_ack,
		},
	};

	__builtin_memcpy(answer.eth.h_dest, p->eth->h_source, ETH_ALEN);
	__builtin_memcpy(answer.eth.h_source, p->eth->h_dest, ETH_ALEN);
	answer.ip.check = header_checksum(&answer.ip);
	answer.tcp.check = tcp_checksum(&answer);
	*r = answer;
	return !bpf_xdp_adjust_tail(ctx, (int)sizeof(answer) - (int)p->length);
}
