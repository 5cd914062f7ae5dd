/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The maps, and the structures in them. The agent reads these layouts from the object's BTF (src/dataplane/btf.ts), so a change
 * here needs none there; docs/dataplane.md says what each is for. Addresses and ports are in network byte order unless a
 * comment says otherwise; times are nanoseconds of the kernel's coarse monotonic clock plus config.clock_offset.
 *
 * Other versions meet these maps: they take them over when all members of keys and values are the same by name, type and place
 * (src/dataplane/pinned-maps.ts). So a member that comes to mean something else needs another name.
 */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SELF 0			/* this node's own index in `nodes` */
#define NOBODY 0xffff		/* in place of a node index */
#define NO_SLOT 0xffffffff	/* in place of a slot index */

enum protocol_timeout { TCP_ESTABLISHED, TCP_HALF_OPEN, TCP_TRANSITORY, UDP_IDLE, ICMP_IDLE, TIMEOUTS };

/* What a mapping or a filter depends on (RFC 4787, sections 4.1 and 5): of the remote nothing, its address, its address and port. */
enum dependence { ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT, ADDRESS_AND_PORT_DEPENDENT };

/* Which of a gateway's two settings holds. ICMP has none: it is always address-dependent. */
enum ported { UDP_PORTS, TCP_PORTS, PORTED };

enum counter {
	TRANSLATED_OUT,
	TRANSLATED_IN,
	HAIRPINNED,
	STEERED_OUT,
	STEERED_IN,
	UNWRAPPED,
	PASSED_ON,
	PROBES_ANSWERED,
	RESETS_SENT,
	TOO_BIG_SENT,
	PROHIBITED_SENT,
	SESSIONS_CREATED,
	SESSIONS_EXPIRED,
	LOG_LOST,
	FRAGMENTS_HELD,
	FRAGMENTS_RELEASED,
	FRAGMENTS_EXPIRED,
	DROP_MALFORMED,
	DROP_FRAGMENT,
	DROP_FRAGMENT_LIMIT,
	DROP_UNSUPPORTED,
	DROP_NO_SESSION,
	DROP_NO_OWNER,
	DROP_NOT_OWNER,
	DROP_NOT_SYN,
	DROP_TABLE_FULL,
	DROP_NO_PORT,
	DROP_LIMIT_RATE,
	DROP_LIMIT_SESSIONS,
	DROP_LIMIT_PORTS,
	DROP_TOO_BIG,
	DROP_NO_ROUTE,
	DROP_BAD_WRAP,
	COUNTERS,
};

struct config {
	__be32 node_address;
	__be16 vxlan_port;
	__u16 programmed;	/* 1 once everything else is in place: probes are answered */
	__u64 clock_offset;	/* 0, except in tests of timers */
	__u32 static_mappings;	/* how many there are: nothing is looked for where there are none */
	__u32 stands_down;	/* 1 = this node was cut off, and its slots may be others' by now; the agent takes it back */
	__u64 returning_until;	/* the agent's own note, in the kernel's monotonic clock; the program does without */
	__u64 port_key0, port_key1;	/* random, and this node's own: see port-hash.h */
};

struct node {
	__be32 address;		/* 0 = this index is unused */
};

struct source_key {
	__u32 prefix_bits;	/* 32 bits of network, then those of the CIDR */
	__u32 network;
	__be32 address;
};

struct source {
	__u32 gateway;
	__u32 index_offset;	/* plus the address, in host byte order: its position among all of the gateway's sources */
};

#define GATEWAY_ADDRESSES 64
#define MSS_OF_ROUTE 0xffff

struct gateway {
	__u32 ports_per_slot;
	__u32 ports_per_endpoint;	/* of deterministic allocation, 0 = hashed */
	__u32 address_count;	/* 0 = this index is unused, or the gateway has no address yet */
	__u32 timeouts[TIMEOUTS];	/* seconds */
	__u32 hold_down;	/* seconds */
	__u32 endpoint_ports;	/* limits of each endpoint, 0 = none */
	__u32 endpoint_sessions;
	__u32 endpoint_session_rate;	/* new ones a second */
	__u32 endpoint_session_burst;
	__u16 mss_clamp;	/* bytes, 0 = none, MSS_OF_ROUTE = what the route takes */
	__u8 mapping[PORTED];	/* enum dependence */
	__u8 filtering[PORTED];
	__u8 inbound_refreshes_udp;
	__u8 answers_reset;
	__u8 answers_prohibited;
	__u8 logs_sessions;
	__u8 spreads_flows;	/* an endpoint's source ports over all slots of its address */
	__be32 addresses[GATEWAY_ADDRESSES];
};

struct public_address {
	__u32 gateway;
	__u32 first_slot;
	__u32 slot_count;	/* 0 = no gateway's: it has static mappings alone */
	__u32 ports_per_slot;
	__u32 has_forwards;	/* 1 = some of its ports may be forwards' */
};

struct slot {
	__u16 owner;		/* node index: new flows are its own */
	__u16 backup;		/* takes them while the owner is dead */
	__u16 previous;		/* of a slot that has moved: may know flows that the owner does not */
	__u16 holder;		/* whose the ports are: the owner's, or still the previous owner's */
	__u32 stand_in;		/* the slot whose ports this node gives to new flows of this one; itself, as a rule */
};

struct flow_key {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol_network;	/* protocol | network << 8 */
};

enum direction { OUTBOUND = 1, INBOUND = 2 };

struct flow {
	__u32 record;
	__u16 generation;	/* of the record when the entry was made; another one means that it was reused */
	__u16 direction;
};

enum record_kind { FREE, SESSION, MAPPING, PERMISSION };

/* What a direction of a TCP session has shown. */
#define SEEN_SYN 0x02		/* the bits of the TCP header's flags */
#define SEEN_FIN 0x01
#define SEEN_RST 0x04
#define SEEN_ACK 0x10		/* looked at, but never kept */

struct record {
	__u64 seen_out;		/* time of the last packet, 0 = none; of a mapping without sessions: since when its port rests */
	__u64 seen_in;
	__be32 inside_address;
	__be32 public_address;
	__be32 remote_address;	/* in a mapping or permission only what it depends on, otherwise 0; the port likewise */
	__be16 inside_port;
	__be16 public_port;
	__be16 remote_port;
	__u16 generation;
	__u32 protocol_network;
	__u32 slot;
	__u32 parent;		/* the record of the mapping or permission that covers this one */
	__u32 references;	/* how many records have this one as their parent */
	enum record_kind kind;
	__u16 gateway;
	__u8 tcp_out;		/* SEEN_… of packets from inside */
	__u8 tcp_in;
	__u8 counted;		/* whether the endpoint's limits count it */
	__u8 is_hairpin;	/* whether the remote was a public address of ours when the session began */
};

#define NO_PARENT 0xffffffff
#define DEAD 0x80000000		/* in `references`: about to be freed, takes no more children */

/* Beside the protocol, in the keys of a mapping or permission: they are never those of a session. */
#define COVERING 0x80

struct sweeper {
	struct bpf_timer timer;
	__u64 last_run;
	__u32 cursor;
	__u32 high_water;	/* records from here on were never used */
	__u32 in_use;		/* records that are */
};

struct count {
	__u64 packets;
	__u64 bytes;
};

#define MAX_NODES 4096
#define MAX_GATEWAYS 16384
#define MAX_SOURCES 65536
#define MAX_ADDRESSES 16384
#define MAX_SLOTS 1048576
#define DEFAULT_SESSIONS 65536	/* the agent sets the size when it makes the maps; `flows` has two entries a record */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_NODES);
	__type(key, __u32);
	__type(value, struct node);
} nodes SEC(".maps");

/* The nodes' addresses, for the check of who may send wrapped packets: address -> node index. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_NODES);
	__type(key, __be32);
	__type(value, __u32);
} node_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_SOURCES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_key);
	__type(value, struct source);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_GATEWAYS);
	__type(key, __u32);
	__type(value, struct gateway);
} gateways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ADDRESSES);
	__type(key, __be32);
	__type(value, struct public_address);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * DEFAULT_SESSIONS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* Memory-mappable, which also aligns each record with a cache line. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DEFAULT_SESSIONS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct record);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, DEFAULT_SESSIONS);
	__type(value, __u32);
} free_records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweeper);
} sweeper SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, struct count);
} counters SEC(".maps");

static __always_inline void count(__u32 counter, __u32 bytes)
{
	struct count *c = bpf_map_lookup_elem(&counters, &counter);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}

/* Whether an address is a public one of ours. */
static __always_inline int is_public(__be32 address)
{
	return bpf_map_lookup_elem(&addresses, &address) != 0;
}

static __always_inline struct config *get_config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}
