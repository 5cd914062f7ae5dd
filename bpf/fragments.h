/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Fragmented datagrams (RFC 791; RFC 4787 REQ-14). Only the first fragment has ports, so what became of it is noted for the others, until
 * all of them have passed or the time is up. docs/dataplane.md, "Fragments".
 */
#pragma once
#include "moves.h"
#include "packet.h"
#include "slots.h"

#define FRAGMENT_LIFETIME_NS 15000000000ULL
#define MAX_DATAGRAMS 4096
#define FRAGMENT_SHARES 1024
#define SHARE_OF_DATAGRAMS 256	/* of MAX_DATAGRAMS, for the senders of one share */
#define NO_GATEWAY 0xffffffff	/* in place of a gateway index: static mappings have none */

/* A datagram on its way: one that comes to the same node again with another mark has another entry, so that its fragments go the same way. */
struct datagram_key {
	__be32 source;
	__be32 destination;
	__u32 protocol_network;
	__be16 id;
	__u8 direction;
	__u8 mark;
};

/* What became of the first fragment. */
enum outcome { TRANSLATED = 1, SENT_ON };

struct fate {
	__u16 outcome;
	__u16 mark;		/* SENT_ON: with which mark, and to which node (its index) */
	__u32 node;
	__be32 address;		/* TRANSLATED: what the address on the inside's end becomes */
	__u32 gateway;		/* TRANSLATED: for the counters */
};

#define UNITS 8192		/* of 8 bytes: what the largest datagram has */
#define UNITS_OF_WORD 64

struct datagram {
	__u64 deadline;
	__u32 units_passed;
	__u32 units;		/* of the whole datagram, 0 = its last fragment has not passed yet */
	struct fate fate;
	__u64 passed[UNITS / UNITS_OF_WORD];	/* one bit a unit */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_DATAGRAMS);
	__type(key, struct datagram_key);
	__type(value, struct datagram);
} datagrams SEC(".maps");

/* How much of the tables the senders have whose addresses have the same hash: a flood of one leaves room for the others. */
struct fragment_share {
	__u32 datagrams;
	__u32 held;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FRAGMENT_SHARES);
	__type(key, __u32);
	__type(value, struct fragment_share);
} fragment_shares SEC(".maps");

/* The fragment that a CPU has in hand, from one program to the next, and an empty datagram to begin with. */
struct fragment_in_hand {
	struct datagram_key key;
	__u32 units;
	__u32 is_again;		/* it was held, or its datagram's later ones were */
	struct datagram fresh;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fragment_in_hand);
} fragments_in_hand SEC(".maps");

static __always_inline struct fragment_in_hand *fragment_in_hand(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fragments_in_hand, &zero);
}

/* What its fragments have in common, beside direction and mark. */
static __always_inline void name_datagram(struct datagram_key *key, const struct packet *p, __u32 network)
{
	key->source = p->ip->saddr;
	key->destination = p->ip->daddr;
	key->protocol_network = p->ip->protocol | network << 8;
	key->id = p->ip->id;
}

static __always_inline struct fragment_share *share_of(__be32 source)
{
	__u32 index = mix32(bpf_ntohl(source)) % FRAGMENT_SHARES;

	return bpf_map_lookup_elem(&fragment_shares, &index);
}

/* Takes a place of a share; 0 if there is none left. */
static __always_inline int take_place(__u32 *taken, __u32 places)
{
	if (__sync_fetch_and_add(taken, 1) < places)
		return 1;
	__sync_fetch_and_sub(taken, 1);
	return 0;
}

static __always_inline void forget_datagram(struct datagram_key *key)
{
	struct fragment_share *share = share_of(key->source);

	if (!bpf_map_delete_elem(&datagrams, key) && share)
		__sync_fetch_and_sub(&share->datagrams, 1);
}

/* The bits of a word that stand for the units from `from` to `to`, where the word begins at `base`. */
static __always_inline __u64 bits_within(__u32 from, __u32 to, __u32 base)
{
	__u32 first = from > base ? from - base : 0;
	__u32 count = (to < base + UNITS_OF_WORD ? to : base + UNITS_OF_WORD) - base - first;

	return (count < UNITS_OF_WORD ? (1ULL << (count & 63)) - 1 : ~0ULL) << (first & 63);
}

struct passing {
	struct datagram *datagram;
	__u32 from;
	__u32 to;
	__u32 overlaps;
	__u32 marking;
};

static long pass_word(__u32 i, struct passing *p)
{
	__u32 word = p->from / UNITS_OF_WORD + i;

	if (word >= UNITS / UNITS_OF_WORD || word * UNITS_OF_WORD >= p->to)
		return 1;

	__u64 bits = bits_within(p->from, p->to, word * UNITS_OF_WORD);

	if (p->marking)
		__sync_fetch_and_or(&p->datagram->passed[word], bits);
	else if (p->datagram->passed[word] & bits)
		p->overlaps = 1;
	return 0;
}

/* Notes that a part of a datagram passes, in units. Returns 0 if some of it has passed already: then nothing is noted. */
static __noinline int pass_units(struct datagram *d, __u32 from, __u32 to, int is_last)
{
	struct passing passing = { .datagram = d, .from = from, .to = to };

	bpf_loop(UNITS / UNITS_OF_WORD, pass_word, &passing, 0);
	if (passing.overlaps)
		return 0;
	passing.marking = 1;
	bpf_loop(UNITS / UNITS_OF_WORD, pass_word, &passing, 0);
	__sync_fetch_and_add(&d->units_passed, to - from);
	if (is_last)
		d->units = to;
	return 1;
}

/* Begins a datagram anew with the first fragment that is in hand, and its fate. Returns 0 if there is no room for it. */
static __always_inline int begin_datagram(struct fragment_in_hand *hand, __u64 now)
{
	struct fragment_share *share = share_of(hand->key.source);
	struct datagram *d = &hand->fresh;

	d->deadline = now + FRAGMENT_LIFETIME_NS;
	/* The identification is used again: what is left of an older datagram is gone. */
	if (bpf_map_update_elem(&datagrams, &hand->key, d, BPF_EXIST)) {
		if (!share || !take_place(&share->datagrams, SHARE_OF_DATAGRAMS))
			return 0;
		if (bpf_map_update_elem(&datagrams, &hand->key, d, BPF_NOEXIST)) {
			__sync_fetch_and_sub(&share->datagrams, 1);
			return 0;
		}
	}
	d = bpf_map_lookup_elem(&datagrams, &hand->key);
	return d && pass_units(d, 0, hand->units, 0);
}

/*
 * Notes that an address of the datagram becomes this one. Returns 0 if there is no room for the note. (Global functions are verified by
 * themselves: once, whoever calls them.)
 */
__noinline int remember_translation(__be32 address, __u32 gateway, __u64 now)
{
	struct fragment_in_hand *hand = fragment_in_hand();

	if (!hand)
		return 0;
	hand->fresh.fate = (struct fate){ .outcome = TRANSLATED, .address = address, .gateway = gateway };
	return begin_datagram(hand, now);
}

/* The same for a datagram that is sent on to a node. */
__noinline int remember_turn(__u32 node, __u32 mark, __u64 now)
{
	struct fragment_in_hand *hand = fragment_in_hand();

	if (!hand)
		return 0;
	hand->fresh.fate = (struct fate){ .outcome = SENT_ON, .node = node, .mark = mark };
	return begin_datagram(hand, now);
}

static long expire_datagram(void *map, struct datagram_key *key, struct datagram *d, __u64 *now)
{
	if (d->deadline <= *now)
		forget_datagram(key);
	return 0;
}
