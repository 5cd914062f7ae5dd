/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where the search for a port begins: SipHash-1-3 (Aumasson and Bernstein) of the endpoint and the remote with a key that only this node knows, so that
 * who sees ports cannot tell the next ones (RFC 6056, section 3.3.3). src/dataplane/model/port-hash.ts computes the same.
 */
#pragma once
#include "maps.h"

struct sip {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotate(__u64 x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static __always_inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static __always_inline void sip_absorb(struct sip *s, __u64 word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

static __always_inline __u32 sip_hash(const struct config *config, __u64 first, __u64 second)
{
	struct sip s = {
		.v0 = config->port_key0 ^ 0x736f6d6570736575ULL,
		.v1 = config->port_key1 ^ 0x646f72616e646f6dULL,
		.v2 = config->port_key0 ^ 0x6c7967656e657261ULL,
		.v3 = config->port_key1 ^ 0x7465646279746573ULL,
	};

	sip_absorb(&s, first);
	sip_absorb(&s, second);
	sip_absorb(&s, 16ULL << 56);	/* the length */
	s.v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* Of the remote as much as the record depends on. */
static __noinline __u32 port_hash(const struct record *r)
{
	struct config *config = get_config();

	if (!config)
		return 0;
	return sip_hash(config, bpf_ntohl(r->inside_address) | (__u64)bpf_ntohl(r->remote_address) << 32,
			bpf_ntohs(r->inside_port) | (__u32)bpf_ntohs(r->remote_port) << 16 |
				(__u64)(r->protocol_network >> 8) << 32);
}
