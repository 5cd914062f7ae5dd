/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sending packets on: by the kernel's routes, or wrapped to the node that owns their slot (VXLAN, RFC 7348). */
#pragma once
#include <linux/if_ether.h>
#include "answers.h"
#include "contact.h"
#include "fragments.h"
#include "moves.h"
#include "mss.h"
#include "gateway-counts.h"
#include "packet.h"
#include "sessions.h"
#include "slots.h"

#ifndef AF_INET
#define AF_INET 2
#endif

#define VXLAN_FLAGS bpf_htonl(0x08000000)	/* the VNI is valid; nothing else is set */
#define PROBE_VNI 0xffffff

struct vxlanhdr {
	__be32 flags;
	__be32 vni;		/* in the upper 24 bits */
};

struct wrap {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
	struct ethhdr inner_eth;
} __attribute__((packed));

#define WRAP_LENGTH (sizeof(struct wrap) - sizeof(struct ethhdr))	/* 50: the old Ethernet header makes room for the outer one */

_Static_assert(WRAP_LENGTH == 50, "RFC 7348 over IPv4 adds 50 bytes");

/*
 * Asks the kernel's routing tables, before anything is changed, where a packet like `ip` would go with these addresses, and with this
 * protocol and length.
 */
static __always_inline long find_route(struct xdp_md *ctx, struct bpf_fib_lookup *fib, const struct iphdr *ip, __u8 protocol,
				       __u16 length, __be32 source, __be32 destination)
{
	*fib = (struct bpf_fib_lookup){
		.family = AF_INET,
		.tos = ip->tos,
		.l4_protocol = protocol,
		.tot_len = length,
		.ifindex = ctx->ingress_ifindex,
		.ipv4_src = source,
		.ipv4_dst = destination,
	};
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

/* Whether the kernel takes the packet: to ask for the neighbour, to answer for this node, or to say that there is no route. */
static __always_inline int is_for_kernel(long route)
{
	return route == BPF_FIB_LKUP_RET_NO_NEIGH || route == BPF_FIB_LKUP_RET_NOT_FWDED;
}

/* Sends a packet that is as it should be where the route says. */
static __always_inline int send_on(const struct bpf_fib_lookup *fib, long route, struct ethhdr *eth, struct iphdr *ip)
{
	if (is_for_kernel(route))
		return XDP_PASS;
	decrement_ttl(ip);
	__builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
	return bpf_redirect(fib->ifindex, 0);
}

/* Drops what the route does not take. A sender that wants to know (path MTU discovery) is told how much it takes. */
static __always_inline int refuse(struct xdp_md *ctx, const struct packet *p, const struct config *config,
				  enum direction direction, long route, __u16 mtu)
{
	if (route != BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		count(DROP_NO_ROUTE, p->length);
		return XDP_DROP;
	}
	count(DROP_TOO_BIG, p->length);
	/* Inside the node may show its own address; outside only the one that the sender knows. */
	return answer_too_big(ctx, p, direction == OUTBOUND ? config->node_address : p->destination, mtu, now_ns(config));
}

/* Largest IP packet that a route takes, 0 = not known. */
static __always_inline __u32 mtu_of(struct xdp_md *ctx, const struct bpf_fib_lookup *fib, long route)
{
	__u32 mtu = 0;

	if (route == BPF_FIB_LKUP_RET_SUCCESS)
		return fib->mtu_result;
	/* Without a neighbour the look-up stops before it tells: that of the interface is known. */
	if (route == BPF_FIB_LKUP_RET_NO_NEIGH)
		bpf_check_mtu(ctx, fib->ifindex, &mtu, 0, 0);
	return mtu;
}

/* Takes up a packet that was translated outward and whose destination is ours, as if it came from outside. In natto.bpf.c. */
int natto_inward(struct xdp_md *ctx);

/* Take up a fragment, with the direction and mark that are in hand. In natto.bpf.c. */
int natto_fragment(struct xdp_md *ctx);
int natto_first_outbound(struct xdp_md *ctx);
int natto_first_inbound(struct xdp_md *ctx);

enum stage { INWARD, FRAGMENT, FIRST_OUTBOUND, FIRST_INBOUND, STAGES };

/* Programs of their own, since the stack has no room for all ways. Pinned: without that it would be forgotten with the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGES);
	__uint(key_size, sizeof(__u32));
	__array(values, int (struct xdp_md *));
} stages SEC(".maps") = {
	.values = {
		[INWARD] = (void *)&natto_inward,
		[FRAGMENT] = (void *)&natto_fragment,
		[FIRST_OUTBOUND] = (void *)&natto_first_outbound,
		[FIRST_INBOUND] = (void *)&natto_first_inbound,
	},
};

static __always_inline int hairpin(struct xdp_md *ctx, __u32 length)
{
	count(HAIRPINNED, length);
	bpf_tail_call(ctx, &stages, INWARD);
	count(DROP_NO_SESSION, length);
	return XDP_DROP;
}

static __always_inline int take_up_fragment(struct xdp_md *ctx, enum direction direction, enum mark mark, __u32 length)
{
	struct fragment_in_hand *hand = fragment_in_hand();

	if (hand) {
		hand->key.direction = direction;
		hand->key.mark = mark;
		hand->is_again = 0;
		bpf_tail_call(ctx, &stages, FRAGMENT);
	}
	count(DROP_FRAGMENT, length);
	return XDP_DROP;
}

static __always_inline void rewrite_own_side(struct packet *p, int outbound, __be32 address, __be16 port, void *end)
{
	if (p->quoted)
		rewrite_error(p, outbound, address, port, end);
	else if (outbound)
		rewrite(p, &p->ip->saddr, address, 1, port, end);
	else
		rewrite(p, &p->ip->daddr, address, 0, port, end);
}

/* Rewrites a packet of a session and sends it on; back in if it is a hairpin. */
static __always_inline int translate(struct xdp_md *ctx, struct packet *p, const struct config *config,
				     const struct record *r, enum direction direction, int is_hairpin)
{
	void *end = (void *)(long)ctx->data_end;
	int outbound = direction == OUTBOUND;
	__be32 address = outbound ? r->public_address : r->inside_address;
	__be16 port = outbound ? r->public_port : r->inside_port;
	struct bpf_fib_lookup fib;
	long route;

	if (p->part && !remember_translation(address, r->gateway, now_ns(config))) {
		count_for(r->gateway, DROP_FRAGMENT_LIMIT, p->length);
		return XDP_DROP;
	}
	if (outbound && is_hairpin) {
		__u32 length = p->length;

		rewrite_own_side(p, 1, address, port, end);
		count_for(r->gateway, TRANSLATED_OUT, length);
		return hairpin(ctx, length);
	}
	route = find_route(ctx, &fib, p->ip, p->ip->protocol, p->ip_length, outbound ? address : p->ip->saddr,
			   outbound ? p->ip->daddr : address);
	if (route != BPF_FIB_LKUP_RET_SUCCESS && !is_for_kernel(route))
		return refuse(ctx, p, config, direction, route, fib.mtu_result);
	rewrite_own_side(p, outbound, address, port, end);
	if (p->tcp_flags & SEEN_SYN)
		clamp_mss(ctx, p, r->gateway, mtu_of(ctx, &fib, route));
	count_for(r->gateway, outbound ? TRANSLATED_OUT : TRANSLATED_IN, p->length);
	return send_on(&fib, route, p->eth, p->ip);
}

/* Wraps the packet and sends it to the node whose turn it is. */
static __always_inline int steer(struct xdp_md *ctx, struct packet *p, const struct config *config, __be32 node,
				 enum mark mark, __u32 network, enum direction direction)
{
	struct ethhdr old_eth = *p->eth;
	__u32 length = p->length;
	__u32 ports = (__u32)bpf_ntohs(p->source_port) << 16 | bpf_ntohs(p->destination_port);
	/* All fragments of a datagram go one way: only the first has ports. */
	__u32 entropy = p->part ? mix32(bpf_ntohl(p->ip->saddr) ^ bpf_ntohl(p->ip->daddr))
				: mix32(bpf_ntohl(p->source) ^ bpf_ntohl(p->destination) ^ ports);
	__u16 outer_length = p->ip_length + WRAP_LENGTH;
	struct bpf_fib_lookup fib;
	/* The outer header has no type of service of its own: the zero one. */
	struct iphdr plain = {};
	long route = find_route(ctx, &fib, &plain, IPPROTO_UDP, outer_length, config->node_address, node);

	if (route != BPF_FIB_LKUP_RET_SUCCESS && !is_for_kernel(route))
		return refuse(ctx, p, config, direction, route, fib.mtu_result - WRAP_LENGTH);
	if (bpf_xdp_adjust_head(ctx, -(int)WRAP_LENGTH)) {
		count(DROP_TOO_BIG, length);
		return XDP_DROP;
	}

	struct wrap *w = (void *)(long)ctx->data;

	if ((void *)(w + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;

	w->eth = old_eth;
	w->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(outer_length),
		.frag_off = bpf_htons(0x4000),
		.ttl = 64 + 1,	/* send_on(), or the kernel, takes one off */
		.protocol = IPPROTO_UDP,
		.saddr = config->node_address,
		.daddr = node,
	};
	w->ip.check = header_checksum(&w->ip);
	w->udp.source = bpf_htons(49152 + entropy % 16384);
	w->udp.dest = config->vxlan_port;
	w->udp.len = bpf_htons(outer_length - sizeof(struct iphdr));
	w->udp.check = 0;
	w->vxlan.flags = VXLAN_FLAGS;
	w->vxlan.vni = bpf_htonl(network << 8);
	set_wrap_mac(w->inner_eth.h_dest, mark - STEERED);
	set_wrap_mac(w->inner_eth.h_source, direction);
	w->inner_eth.h_proto = bpf_htons(ETH_P_IP);

	count(mark != STEERED && mark != MEETING ? PASSED_ON : direction == OUTBOUND ? STEERED_OUT : STEERED_IN, length);
	return send_on(&fib, route, &w->eth, &w->ip);
}

/* Sends a peer's probe back to where it came from. */
static __always_inline int answer_probe(const struct xdp_md *ctx, struct ethhdr *eth, struct iphdr *ip, struct udphdr *udp,
					__u32 length)
{
	struct ethhdr question = *eth;
	__be32 address = ip->saddr;
	__be16 port = udp->source;

	turn_around(eth, &question);
	ip->saddr = ip->daddr;
	ip->daddr = address;
	udp->source = udp->dest;
	udp->dest = port;
	udp->check = 0;
	count(PROBES_ANSWERED, length);
	return send_back(ctx);
}

/* Takes note of a peer's probe; returns whether this node stands down, and so does not answer. */
static __always_inline int is_cut_off(const struct xdp_md *ctx, struct config *config, const struct packet *p)
{
	struct probe *probe = (void *)(long)ctx->data + sizeof(struct wrap) - sizeof(struct ethhdr);
	__be32 source = p->ip->saddr;
	__u32 *sender = bpf_map_lookup_elem(&node_addresses, &source);

	if (!sender || p->ip_length < WRAP_LENGTH - sizeof(struct ethhdr) + sizeof(*probe) ||
	    (void *)(probe + 1) > (void *)(long)ctx->data_end)
		return config->stands_down;
	return stands_down_at(config, *sender, probe, now_ns(config));
}

enum unwrapped { BAD_WRAP, PROBE, INNER_PACKET };

/*
 * Looks into a packet that came to the VXLAN port. An inner packet is left in the frame's place, with the outer Ethernet header
 * before it; *direction is the one that the sender found, *mark the one it has set. A probe is left as it is.
 */
static __always_inline enum unwrapped unwrap(struct xdp_md *ctx, const struct packet *p, enum direction *direction,
					     enum mark *mark)
{
	struct wrap *w = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr outer_eth;
	__u32 *sender;

	if (p->ip->ihl != 5 || (void *)(&w->vxlan + 1) > end || p->ip_length < WRAP_LENGTH - sizeof(struct ethhdr))
		return BAD_WRAP;

	__be32 source = w->ip.saddr;

	sender = bpf_map_lookup_elem(&node_addresses, &source);
	if (!sender || *sender == SELF || w->vxlan.flags != VXLAN_FLAGS)
		return BAD_WRAP;
	if (bpf_ntohl(w->vxlan.vni) >> 8 == PROBE_VNI)
		return PROBE;
	if (w->vxlan.vni || (void *)(w + 1) > end || p->ip_length < WRAP_LENGTH + sizeof(struct iphdr) ||
	    bpf_ntohs(w->udp.len) != p->ip_length - sizeof(struct iphdr))
		return BAD_WRAP;
	if (!is_wrap_mac(w->inner_eth.h_source) || !is_wrap_mac(w->inner_eth.h_dest) || w->inner_eth.h_dest[5] > MEETING - STEERED ||
	    w->inner_eth.h_proto != bpf_htons(ETH_P_IP))
		return BAD_WRAP;
	*direction = w->inner_eth.h_source[5];
	if (*direction != OUTBOUND && *direction != INBOUND)
		return BAD_WRAP;
	*mark = STEERED + w->inner_eth.h_dest[5];
	outer_eth = w->eth;
	w->inner_eth = outer_eth;
	return bpf_xdp_adjust_head(ctx, WRAP_LENGTH) ? BAD_WRAP : INNER_PACKET;
}
