/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the program answers by itself to a packet that it drops: written over the packet, and sent back to where it came from. */
#pragma once
#include "packet.h"

#define ANSWERS_PER_SECOND 1000	/* of a CPU */

struct answer_limit {
	__u64 second;
	__u64 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer_limit);
} answer_limits SEC(".maps");

static __always_inline int may_answer(__u64 now)
{
	__u32 zero = 0;
	struct answer_limit *limit = bpf_map_lookup_elem(&answer_limits, &zero);
	__u64 second = now / 1000000000ULL;

	if (!limit)
		return 0;
	if (limit->second != second) {
		limit->second = second;
		limit->sent = 0;
	}
	return limit->sent++ < ANSWERS_PER_SECOND;
}

static __always_inline void turn_around(struct ethhdr *answer, const struct ethhdr *question)
{
	__builtin_memcpy(answer->h_dest, question->h_source, ETH_ALEN);
	__builtin_memcpy(answer->h_source, question->h_dest, ETH_ALEN);
	answer->h_proto = bpf_htons(ETH_P_IP);
}

/*
 * Sends a packet back out of the interface that it came from. By a redirect: what a veth interface is told to send with XDP_TX waits for the
 * next packet, unless a program is attached to the other end, too.
 */
static __always_inline int send_back(const struct xdp_md *ctx)
{
	return bpf_redirect(ctx->ingress_ifindex, 0);
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
	return fold_checksum(sum);
}

/*
 * Fail fast: a TCP segment in the middle of a connection that nobody knows is answered with a reset toward the inside (RFC 9293, section
 * 3.5.2), so that the client reconnects at once rather than waits for its own timers. Returns the verdict.
 */
static __always_inline int answer_reset(struct xdp_md *ctx, const struct packet *p, __u64 now)
{
	void *end = (void *)(long)ctx->data_end;
	struct reset *r = (void *)(long)ctx->data;
	struct tcphdr *segment = p->l4;

	if ((void *)(r + 1) > end || (void *)(segment + 1) > end || p->part ||
	    p->tcp_flags & SEEN_RST || !may_answer(now))
		return XDP_DROP;

	int has_ack = p->tcp_flags & 0x10;
	__u32 data = p->ip_length - p->ip->ihl * 4 - segment->doff * 4;
	__u32 after = bpf_ntohl(segment->seq) + data + !!(p->tcp_flags & SEEN_SYN) + !!(p->tcp_flags & SEEN_FIN);
	struct reset answer = {
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

	turn_around(&answer.eth, p->eth);
	answer.ip.check = header_checksum(&answer.ip);
	answer.tcp.check = tcp_checksum(&answer);
	*r = answer;
	if (bpf_xdp_adjust_tail(ctx, (int)sizeof(answer) - (int)p->length))
		return XDP_DROP;
	count(RESETS_SENT, p->length);
	return send_back(ctx);
}

#define QUOTE_LENGTH (sizeof(struct iphdr) + 8)	/* what RFC 792 asks for */

struct unreachable {
	struct ethhdr eth;
	struct iphdr ip;
	struct icmphdr icmp;
	__u8 quote[QUOTE_LENGTH];
} __attribute__((packed));

static __always_inline __u16 icmp_checksum(const struct unreachable *u)
{
	const __u16 *words = (const __u16 *)&u->icmp;
	__u32 sum = 0;

	for (int i = 0; i < (sizeof(u->icmp) + QUOTE_LENGTH) / 2; i++)
		sum += words[i];
	return fold_checksum(sum);
}

/* Answers with "destination unreachable" (RFC 792) for a reason, and what fits where that is the reason. Returns the verdict. */
static __always_inline int answer_unreachable(struct xdp_md *ctx, const struct packet *p, __be32 from, __u8 code, __u16 mtu,
					      enum counter sent, __u64 now)
{
	__u8 *quote = (void *)p->ip;

	if ((void *)(quote + QUOTE_LENGTH) > (void *)(long)ctx->data_end || p->ip->ihl != 5 || p->quoted ||
	    p->part == LATER_FRAGMENT || !may_answer(now))
		return XDP_DROP;

	struct unreachable answer = {
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(answer) - sizeof(answer.eth)),
			.ttl = 64,
			.protocol = IPPROTO_ICMP,
			.saddr = from,
			.daddr = p->ip->saddr,
		},
		.icmp = { .type = ICMP_DEST_UNREACH, .code = code, .un.frag.mtu = bpf_htons(mtu) },
	};

	turn_around(&answer.eth, p->eth);
	__builtin_memcpy(answer.quote, quote, QUOTE_LENGTH);
	answer.ip.check = header_checksum(&answer.ip);
	answer.icmp.checksum = icmp_checksum(&answer);

	__u32 length = p->length;

	/* It may be longer than the question. */
	if (bpf_xdp_adjust_tail(ctx, (int)sizeof(answer) - (int)length))
		return XDP_DROP;

	struct unreachable *u = (void *)(long)ctx->data;

	if ((void *)(u + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*u = answer;
	count(sent, length);
	return send_back(ctx);
}

/* Path MTU discovery (RFC 1191): a packet that may not be fragmented and does not fit is answered with how much would fit. */
static __always_inline int answer_too_big(struct xdp_md *ctx, const struct packet *p, __be32 from, __u16 mtu, __u64 now)
{
	if (!(p->ip->frag_off & bpf_htons(0x4000)))
		return XDP_DROP;
	return answer_unreachable(ctx, p, from, ICMP_FRAG_NEEDED, mtu, TOO_BIG_SENT, now);
}
