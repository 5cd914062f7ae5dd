/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Programs for `make bench`, never attached in production: a source of packets, a sink, and a harness that runs another program
 * under BPF_PROG_TEST_RUN on a fresh packet each time (a repeated test run hands the program what it made of the packet before).
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME 64
#define PORTS_AT 34		/* source and destination port, behind Ethernet and IPv4 without options */

struct bench {
	__u8 frame[FRAME];
	__u32 sources;		/* so many source ports, each with so many destination ports, are used in turn */
	__u32 destinations;
	__u32 ifindex;		/* where `generate` sends to */
	__u32 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench);
} bench SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} received SEC(".maps");

static __always_inline struct bench *write_frame(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct bench *b = bpf_map_lookup_elem(&bench, &zero);

	if (!b || data + FRAME > (void *)(long)ctx->data_end)
		return 0;

	__u32 flow = b->next++ % (b->sources * b->destinations);
	__be16 *ports = data + PORTS_AT;

	__builtin_memcpy(data, b->frame, FRAME);
	ports[0] = bpf_htons(1024 + flow % b->sources);
	ports[1] = bpf_htons(1024 + flow / b->sources);
	return b;
}

SEC("xdp")
int bench_floor(struct xdp_md *ctx)
{
	return write_frame(ctx) ? XDP_PASS : XDP_ABORTED;
}

SEC("xdp")
int bench_target(struct xdp_md *ctx)
{
	if (!write_frame(ctx))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int bench_generate(struct xdp_md *ctx)
{
	struct bench *b = write_frame(ctx);

	return b ? bpf_redirect(b->ifindex, 0) : XDP_ABORTED;
}

SEC("xdp")
int bench_sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *packets = bpf_map_lookup_elem(&received, &zero);

	if (packets)
		*packets += 1;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
