/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Fragments that come before the first of their datagram are held, and released when it comes. A program makes no packets, so they circulate:
 * Natto has a pair of interfaces of its own. The first fragment is sent into both ends. At the one it is taken up again, as if it came now;
 * at the other it gives its frame to the next one that is held, which is sent into both ends in turn, until there are no more.
 */
#pragma once
#include "fragments.h"

#define MAX_HELD 1024
#define HELD_OF_DATAGRAM 64
#define SHARE_OF_HELD 128	/* of MAX_HELD, for the senders of one share */
#define HELD_BYTES 2048
#define HELD_MAC 0xff		/* the last byte of the MAC addresses of the pair */

/* A datagram whose first fragment has not come. */
struct waiting {
	__u64 deadline;
	__u32 held;		/* so many numbers of fragments have been given away */
	__u32 released;		/* so many of them have been taken back */
	__u32 is_released;	/* the first has come */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HELD);
	__type(key, struct datagram_key);
	__type(value, struct waiting);
} waiting SEC(".maps");

struct held_key {
	struct datagram_key datagram;
	__u32 number;
};

struct held {
	__u64 deadline;
	__u32 length;
	__u8 frame[HELD_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HELD);
	__type(key, struct held_key);
	__type(value, struct held);
} held_fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} held_in_hand SEC(".maps");

/* Where a frame comes out: where the next one is released, or where it is taken up again. */
enum end { TO_HELD, TO_AGAIN, ENDS };

/* -> the interface to send it into, which is the other one of the pair. (Sizes, not types: the kernel keeps none of such a map.) */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, ENDS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} held_ends SEC(".maps");

/* A frame between the two says by its MAC addresses what it would be asked for: mark and direction. */
static __always_inline void label(struct ethhdr *eth, const struct datagram_key *key)
{
	set_wrap_mac(eth->h_dest, key->mark);
	set_wrap_mac(eth->h_source, key->direction);
}

/* Reads a label; 0 if it is none. */
static __always_inline int read_label(const struct ethhdr *eth, struct datagram_key *key)
{
	key->mark = eth->h_dest[5];
	key->direction = eth->h_source[5];
	return is_wrap_mac(eth->h_dest) && is_wrap_mac(eth->h_source) && key->mark <= LAST &&
	       (key->direction == OUTBOUND || key->direction == INBOUND);
}

static __always_inline int let_go(struct held_key *key)
{
	struct fragment_share *share = share_of(key->datagram.source);

	if (bpf_map_delete_elem(&held_fragments, key))
		return 0;
	if (share)
		__sync_fetch_and_sub(&share->held, 1);
	return 1;
}

/* Copies the frame in hand, which has its label, among those that are held. Returns 0 if there is no room. */
static __noinline int keep_frame(struct xdp_md *ctx, struct held_key *key, __u32 length, __u64 deadline)
{
	__u32 zero = 0;
	struct held *held = bpf_map_lookup_elem(&held_in_hand, &zero);

	if (!held || length < sizeof(struct ethhdr) || length > HELD_BYTES)
		return 0;
	held->deadline = deadline;
	held->length = length;
	return !bpf_xdp_load_bytes(ctx, 0, held->frame, length) && !bpf_map_update_elem(&held_fragments, key, held, BPF_NOEXIST);
}

static __always_inline struct waiting *find_waiting(const struct datagram_key *key, __u64 now)
{
	struct waiting *w = bpf_map_lookup_elem(&waiting, key);
	struct waiting fresh = { .deadline = now + FRAGMENT_LIFETIME_NS };

	if (w)
		return w;
	bpf_map_update_elem(&waiting, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&waiting, key);
}

/* Holds the fragment in hand. Returns the verdict. */
static __noinline int hold(struct xdp_md *ctx, __u32 length, __u64 now)
{
	struct fragment_in_hand *hand = fragment_in_hand();
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct fragment_share *share;
	struct held_key key;
	struct waiting *w;

	if (!hand || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	if (length > HELD_BYTES) {
		count(DROP_FRAGMENT, length);
		return XDP_DROP;
	}
	key.datagram = hand->key;
	label(eth, &key.datagram);
	share = share_of(key.datagram.source);
	/* Whoever has no place left makes no datagram wait either. */
	if (!share || !take_place(&share->held, SHARE_OF_HELD)) {
		count(DROP_FRAGMENT_LIMIT, length);
		return XDP_DROP;
	}
	w = find_waiting(&key.datagram, now);
	key.number = w ? __sync_fetch_and_add(&w->held, 1) : HELD_OF_DATAGRAM;
	if (!w || key.number >= HELD_OF_DATAGRAM || !keep_frame(ctx, &key, length, w->deadline)) {
		__sync_fetch_and_sub(&share->held, 1);
		count(DROP_FRAGMENT_LIMIT, length);
		return XDP_DROP;
	}
	/* Another CPU has released the others meanwhile, and missed this one: it goes after them. */
	if ((w->is_released || bpf_map_lookup_elem(&datagrams, &key.datagram)) && let_go(&key))
		return bpf_redirect_map(&held_ends, TO_AGAIN, 0);
	count(FRAGMENTS_HELD, length);
	return XDP_DROP;
}

struct search_for_held {
	struct waiting *waiting;
	struct held_key key;
	__u32 found;
};

static long find_held(__u32 i, struct search_for_held *s)
{
	s->key.number = __sync_fetch_and_add(&s->waiting->released, 1);
	if (s->key.number >= s->waiting->held || s->key.number >= HELD_OF_DATAGRAM)
		return 1;
	s->found = bpf_map_lookup_elem(&held_fragments, &s->key) != 0;
	return s->found;
}

/*
 * Gives a frame of so many bytes to the next fragment of its datagram that is held, and sends it into both ends; drops it when there is none.
 * Returns the verdict.
 */
static __always_inline int release_next(struct xdp_md *ctx, const struct datagram_key *datagram, __u32 frame)
{
	struct search_for_held search = { .waiting = bpf_map_lookup_elem(&waiting, datagram), .key.datagram = *datagram };

	if (!search.waiting)
		return XDP_DROP;
	bpf_loop(HELD_OF_DATAGRAM, find_held, &search, 0);

	struct held *held = search.found ? bpf_map_lookup_elem(&held_fragments, &search.key) : 0;

	if (!held) {
		bpf_map_delete_elem(&waiting, datagram);
		return XDP_DROP;
	}

	__u32 length = held->length;

	if (length < sizeof(struct ethhdr) || length > HELD_BYTES || bpf_xdp_adjust_tail(ctx, (int)length - (int)frame) ||
	    bpf_xdp_store_bytes(ctx, 0, held->frame, length))
		return XDP_DROP;
	let_go(&search.key);
	count(FRAGMENTS_RELEASED, length);
	return bpf_redirect_map(&held_ends, 0, BPF_F_BROADCAST);
}

static long expire_held(void *map, struct held_key *key, struct held *held, __u64 *now)
{
	__u32 length = held->length;

	if (held->deadline <= *now && let_go(key))
		count(FRAGMENTS_EXPIRED, length);
	return 0;
}

static long expire_waiting(void *map, struct datagram_key *key, struct waiting *w, __u64 *now)
{
	if (w->deadline <= *now)
		bpf_map_delete_elem(&waiting, key);
	return 0;
}

static __always_inline void sweep_fragments(__u64 now)
{
	bpf_for_each_map_elem(&datagrams, expire_datagram, &now, 0);
	bpf_for_each_map_elem(&held_fragments, expire_held, &now, 0);
	bpf_for_each_map_elem(&waiting, expire_waiting, &now, 0);
}
