/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Ports that are known to be taken, where many are: 1024 ports of a public address toward as much of the remote as a mapping depends on. A
 * crowd begins when the first tries of a search have failed, with nothing known, and learns from every try; so a search skips what is taken,
 * and none tries a port in vain that another did. `flows` alone decides who has a port. The rule that makes a crowd safe to believe: a bit is set
 * while the port's entry is seen in `flows`, looked at once more after it was set, and cleared after the entry is gone.
 */
#pragma once
#include "maps.h"
#include "slots.h"

#define CROWD_PORTS 1024
#define CROWD_WORDS (CROWD_PORTS / 64)
#define CROWD_TRUST_NS 1000000000ULL	/* 1 s */

struct crowd {
	__u64 taken[CROWD_WORDS];	/* a bit for each port */
	__u64 begun;		/* when it was begun with nothing known */
	__u64 full;		/* a bit for each word that is all ones */
};

/* The key is that of the inbound entry of the crowd's first port. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct flow_key);
	__type(value, struct crowd);
} crowds SEC(".maps");

static __always_inline __be16 first_of_crowd(__u32 offset)
{
	return bpf_htons(FIRST_PORT + offset / CROWD_PORTS * CROWD_PORTS);
}

/* Too large for the stack. */
static const struct crowd NOTHING_KNOWN;

/* A crowd that is there or begins now. */
static __noinline struct crowd *ensure_crowd(const struct flow_key *key)
{
	struct crowd *c = bpf_map_lookup_elem(&crowds, key);

	if (c)
		return c;

	bpf_map_update_elem(&crowds, key, &NOTHING_KNOWN, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&crowds, key);
	if (c)
		c->begun = bpf_ktime_get_coarse_ns();
	return c;
}

/*
 * Forgets what a crowd knows, once a second at most: for searches that found nothing. Nobody but a change by hand, or an entry of the map that was
 * given to another crowd in the very moment, can have left a bit where a port is free; a port that is free must be found all the same.
 */
static __always_inline void doubt(struct crowd *c)
{
	__u64 now = bpf_ktime_get_coarse_ns();

	if (now - c->begun < CROWD_TRUST_NS)
		return;
	__builtin_memset(c->taken, 0, sizeof(c->taken));
	c->full = 0;
	c->begun = now;
}

/*
 * The number of the lowest bit that is set: the ones below it, counted in parallel. No branch, which the verifier would follow; and clang 14 does not come
 * to an end over __builtin_ctzll for this machine.
 */
static __always_inline __u32 lowest_bit(__u64 x)
{
	x = (x & -x) - 1;
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = x + (x >> 4) & 0x0f0f0f0f0f0f0f0fULL;
	return x * 0x0101010101010101ULL >> 56;
}

/* Offsets are those of ports from FIRST_PORT on. From this one on the first that is not known to be taken; or the next crowd's first. */
static __always_inline __u32 first_unknown(const struct crowd *c, __u32 offset)
{
	__u32 word = offset % CROWD_PORTS / 64;
	__u64 unknown = ~c->taken[word] & ~0ULL << offset % 64;

	if (!unknown) {
		__u64 others = ~c->full & ((1 << CROWD_WORDS) - 1) & ~1ULL << word;

		if (!others)
			return (offset / CROWD_PORTS + 1) * CROWD_PORTS;
		word = lowest_bit(others) % CROWD_WORDS;
		unknown = ~c->taken[word];
	}
	/* None, if another CPU has just filled the word: then its first is tried in vain. */
	return offset / CROWD_PORTS * CROWD_PORTS + word * 64 + lowest_bit(unknown) % 64;
}

static __always_inline void note_free(struct crowd *c, __u32 offset)
{
	__u32 word = offset % CROWD_PORTS / 64;

	__sync_fetch_and_and(&c->taken[word], ~(1ULL << offset % 64));
	__sync_fetch_and_and(&c->full, ~(1ULL << word));
}

static __always_inline void note_taken(struct crowd *c, __u32 offset)
{
	__u32 word = offset % CROWD_PORTS / 64;
	__u64 bit = 1ULL << offset % 64;

	if ((__sync_fetch_and_or(&c->taken[word], bit) | bit) != ~0ULL)
		return;
	__sync_fetch_and_or(&c->full, 1ULL << word);
	if (c->taken[word] != ~0ULL)
		__sync_fetch_and_and(&c->full, ~(1ULL << word));
}

/* A port was given back: its entry is gone. */
static __noinline void leave_crowd(const struct flow_key *inbound)
{
	__u32 offset = bpf_ntohs(inbound->destination_port) - FIRST_PORT;
	struct flow_key key = *inbound;

	key.destination_port = first_of_crowd(offset);

	struct crowd *c = bpf_map_lookup_elem(&crowds, &key);

	if (c)
		note_free(c, offset);
}
