/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * MSS clamping: what a SYN announces as its sender's largest segment is lowered to what fits, so that the other side never sends more, also
 * where path MTU discovery is broken by those who drop ICMP. An option that is not there is not added.
 */
#pragma once
#include "packet.h"

#define MAX_OPTIONS 40
#define MSS_OPTION 2
#define MSS_OPTION_LENGTH 4
#define TCP_IP_HEADERS (sizeof(struct iphdr) + sizeof(struct tcphdr))

struct mss_search {
	__u8 options[MAX_OPTIONS];
	__u32 length;
	__u32 at;
	__u32 found;
};

static long next_option(__u32 unused, struct mss_search *s)
{
	__u32 at = s->at;

	if (at > MAX_OPTIONS - MSS_OPTION_LENGTH || at + MSS_OPTION_LENGTH > s->length)
		return 1;

	__u8 kind = s->options[at], length = s->options[at + 1];

	if (kind == MSS_OPTION && length == MSS_OPTION_LENGTH) {
		s->found = 1;
		return 1;
	}
	/* No more options; or one too short to be one. */
	if (kind == 0 || (kind != 1 && length < 2))
		return 1;
	s->at = at + (kind == 1 ? 1 : length);
	return 0;
}

/* Lowers the MSS of the TCP segment of `length` bytes that begins at this offset of the frame. */
static __noinline void lower_mss(struct xdp_md *ctx, __u32 tcp_at, __u32 length, __u32 most)
{
	struct mss_search s = {};
	struct tcphdr tcp;
	__be16 mss;

	if (bpf_xdp_load_bytes(ctx, tcp_at, &tcp, sizeof(tcp)))
		return;
	s.length = tcp.doff * 4 - sizeof(tcp);
	if (s.length < MSS_OPTION_LENGTH || s.length > MAX_OPTIONS || tcp.doff * 4 > length ||
	    bpf_xdp_load_bytes(ctx, tcp_at + sizeof(tcp), s.options, s.length))
		return;
	bpf_loop(MAX_OPTIONS, next_option, &s, 0);
	if (!s.found)
		return;

	__u32 value_at = tcp_at + sizeof(tcp) + s.at + 2;

	if (bpf_xdp_load_bytes(ctx, value_at, &mss, sizeof(mss)) || bpf_ntohs(mss) <= most)
		return;

	__be16 lower = bpf_htons(most);

	/* At an odd offset the two bytes belong to two words of the checksum, each at the other's place. */
	if (s.at & 1)
		tcp.check = adjust_checksum(tcp.check, __builtin_bswap16(mss), __builtin_bswap16(lower));
	else
		tcp.check = adjust_checksum(tcp.check, mss, lower);
	bpf_xdp_store_bytes(ctx, value_at, &lower, sizeof(lower));
	bpf_xdp_store_bytes(ctx, tcp_at + offsetof(struct tcphdr, check), &tcp.check, sizeof(tcp.check));
}

/* Clamps what a SYN of a gateway announces; `mtu` is that of the route toward its receiver, 0 = not known. */
static __always_inline void clamp_mss(struct xdp_md *ctx, const struct packet *p, __u32 gateway_index, __u32 mtu)
{
	struct gateway *gateway = bpf_map_lookup_elem(&gateways, &gateway_index);
	__u32 most = gateway ? gateway->mss_clamp : 0, header = p->ip->ihl * 4;

	if (most == MSS_OF_ROUTE)
		most = mtu > TCP_IP_HEADERS ? mtu - TCP_IP_HEADERS : 0;
	if (most)
		lower_mss(ctx, sizeof(struct ethhdr) + header, p->ip_length - header, most);
}
