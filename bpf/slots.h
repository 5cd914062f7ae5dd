/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The slot functions; src/model/slots.ts says what they mean and computes the same. Numbers are in host byte order. */
#pragma once
#include "maps.h"

#define FIRST_PORT 1024
#define USABLE_PORTS 64512

static __always_inline __u32 mix32(__u32 h)
{
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

static __always_inline __u32 endpoint_hash(__u32 network, __u32 source)
{
	return mix32(mix32(network) ^ source);
}

struct choice {
	const struct gateway *gateway;
	__u32 hash;
	__u32 best_score;
	__u32 best;		/* host order */
};

static long consider_address(__u32 i, struct choice *choice)
{
	if (i >= GATEWAY_ADDRESSES)
		return 1;

	__u32 candidate = bpf_ntohl(choice->gateway->addresses[i]);
	__u32 score = mix32(choice->hash ^ candidate);

	if (i == 0 || score > choice->best_score || (score == choice->best_score && candidate < choice->best)) {
		choice->best_score = score;
		choice->best = candidate;
	}
	return 0;
}

/* Rendezvous hashing: the gateway's public address for the endpoint with this hash, in network byte order. */
static __always_inline __be32 choose_address(const struct gateway *gateway, __u32 hash)
{
	struct choice choice = { .gateway = gateway, .hash = hash };

	if (gateway->address_count <= 1)
		return gateway->addresses[0];
	bpf_loop(gateway->address_count, consider_address, &choice, 0);
	return bpf_htonl(choice.best);
}

static __always_inline struct source *source_of(__u32 network, __be32 address)
{
	struct source_key key = { .prefix_bits = 64, .network = network, .address = address };

	return bpf_map_lookup_elem(&sources, &key);
}

/* The block of ports of an endpoint in deterministic allocation (RFC 7422). */
struct block {
	__be32 address;		/* 0 = the endpoint has none */
	__u32 slot;		/* its number within the address */
	__u16 first;
};

static __always_inline struct block block_of(const struct gateway *gateway, __u32 index)
{
	__u32 size = gateway->ports_per_endpoint, per_slot = gateway->ports_per_slot;
	__u32 slots = per_slot ? USABLE_PORTS / per_slot : 0;
	__u32 blocks = size ? slots * (per_slot / size) : 0;
	struct block block = {};

	if (!blocks)
		return block;

	__u32 number = index % blocks, address = index / blocks;

	if (address >= gateway->address_count)
		return block;
	address &= GATEWAY_ADDRESSES - 1;
	/* The verifier has to see the bound on the very register that is used. */
	barrier_var(address);
	block.address = gateway->addresses[address];
	block.slot = number % slots;
	block.first = FIRST_PORT + block.slot * per_slot + number / slots * size;
	return block;
}

/*
 * Outbound: the public address of an endpoint's flows, 0 if it has none, and a number that names the slot of it to outbound_slot().
 */
static __always_inline __be32 choose(const struct gateway *gateway, const struct source *source, __u32 network,
				     __be32 endpoint, __be16 port, __u32 *number)
{
	if (gateway->ports_per_endpoint) {
		struct block block = block_of(gateway, source->index_offset + bpf_ntohl(endpoint));

		*number = block.slot;
		return block.address;
	}

	__u32 hash = endpoint_hash(network, bpf_ntohl(endpoint));

	*number = gateway->spreads_flows ? mix32(hash ^ bpf_ntohs(port)) : hash;
	return choose_address(gateway, hash);
}

static __always_inline __u32 outbound_slot(__u32 number, const struct public_address *address)
{
	return address->first_slot + (address->slot_count ? number % address->slot_count : 0);
}

/* The port must not be below FIRST_PORT. */
static __always_inline __u32 inbound_slot(__u16 port, const struct public_address *address)
{
	return address->first_slot + (address->ports_per_slot ? (port - FIRST_PORT) / address->ports_per_slot : 0);
}

static __always_inline __u16 first_port_of(__u32 slot, const struct public_address *address)
{
	return FIRST_PORT + (slot - address->first_slot) * address->ports_per_slot;
}
