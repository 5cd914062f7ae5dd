/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Static mappings: floating addresses and port forwards. Which address stands for which is written down, so there is no state, no owner
 * and nothing to steer: whichever node of the cell gets such a packet translates it, and a node that dies takes nothing with it.
 */
#pragma once
#include "maps.h"
#include "packet.h"

/* One of the two directions of a mapping. A floating address has no protocol and no port: all of them are its own. */
struct static_key {
	__u32 protocol_network;
	__be32 address;
	__be16 port;
	__u16 direction;
};

struct static_mapping {
	__be32 address;
	__be16 port;		/* 0 = it stays */
	__u16 unused;
};

#define MAX_STATIC_MAPPINGS 131072	/* entries: two for a floating address, two for each forwarded port */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STATIC_MAPPINGS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct static_key);
	__type(value, struct static_mapping);
} static_mappings SEC(".maps");

/* The mapping of a packet, if it has one. Public addresses are everybody's: inbound, there is no network. */
static __always_inline struct static_mapping *find_static(const struct packet *p, __u32 network, enum direction direction)
{
	int outbound = direction == OUTBOUND;
	struct static_key key = {
		.protocol_network = p->protocol | (outbound ? network << 8 : 0),
		.address = outbound ? p->source : p->destination,
		.port = outbound ? p->source_port : p->destination_port,
		.direction = direction,
	};

	if (p->transport == TRANSLATABLE && (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)) {
		struct static_mapping *forward = bpf_map_lookup_elem(&static_mappings, &key);

		if (forward)
			return forward;
	}
	key.protocol_network = outbound ? network << 8 : 0;
	key.port = 0;
	return bpf_map_lookup_elem(&static_mappings, &key);
}

/* Whether an inside address has a floating address. */
static __always_inline int is_floating(__be32 inside, __u32 network)
{
	struct static_key key = { .protocol_network = network << 8, .address = inside, .direction = OUTBOUND };

	return bpf_map_lookup_elem(&static_mappings, &key) != 0;
}

/* Whether a public port is a forward's, and so not to be allocated. */
static __always_inline int is_forwarded(__be32 address, __be16 port, __u8 protocol)
{
	struct static_key key = { .protocol_network = protocol, .address = address, .port = port, .direction = INBOUND };

	return bpf_map_lookup_elem(&static_mappings, &key) != 0;
}
