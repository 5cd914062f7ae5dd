/**
 * What one packet costs the program, by BPF_PROG_TEST_RUN on a fresh packet each time, less what it costs to make that packet; what memory a
 * session takes; and how long a node takes to program 100,000 slots. Run as root with `node bench/packet-cost.ts [ROUNDS]`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tableLines } from "../src/cli/table.ts";
import * as bpf from "../src/dataplane/libbpf.ts";
import { loadOnMaps } from "../src/dataplane/pinned-maps.ts";
import { enterSandbox, ip } from "../src/dataplane/testing/sandbox.ts";
import { cleanupDataplane, openDataplane } from "../src/dataplane/xdp-dataplane.ts";
import { DEFAULT_BEHAVIOUR, type NatBehaviour, NO_LIMITS } from "../src/model/nat-behaviour.ts";
import { outboundSlotOf } from "../src/model/slots.ts";
import { frameOf, loadBenchObject, type Spread } from "./bench-object.ts";
import { benchConfig } from "./node-config.ts";
import { formatSummary, summarize } from "./statistics.ts";

const ROUNDS = Number(process.argv[2] ?? 5);
/** Room for the million of one case, beside the others. */
const MAX_SESSIONS = 1_500_000;
const OBJECT = join(import.meta.dirname, "../build/natto.bpf.o");
const [SYN, ACK] = [0x02, 0x10];
const DROP = 1;
const PASS = 2;
const REDIRECT = 4;

const sandbox = enterSandbox();
const options = {
  node: "a",
  pinFolder: join(sandbox.bpffs, "natto"),
  stateFolder: sandbox.state,
  maxSessions: MAX_SESSIONS,
};

function layOutNode(): void {
  ip([
    "link add inside type veth peer name inside1",
    "link add outside type veth peer name outside1",
    ...["inside", "inside1", "outside", "outside1"].map((name) => `link set ${name} up`),
    "addr add 192.0.2.1/29 dev inside",
    "addr add 192.0.2.9/29 dev outside",
    "neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev inside",
    "neigh add 192.0.2.10 lladdr 02:00:00:00:00:03 dev outside",
    "route add 10.0.0.0/8 via 192.0.2.2",
    "route add default via 192.0.2.10",
  ]);
}

interface Opening {
  readonly spread: Spread;
  frame(round: number): Buffer;
}

interface Case {
  readonly name: string;
  readonly role: "inside" | "outside";
  /** The frames of a round; each round has flows of its own where `fresh` is set. */
  frame(round: number): Buffer;
  readonly spread: Spread;
  readonly repeat: number;
  /** What becomes of the packets. Default: they are sent on. */
  readonly verdict?: number;
  /** Sent before each round, to make sessions. */
  readonly openings?: readonly Opening[];
}

const PORTS_PER_SLOT = 9216;

const REMOTE = "198.51.100.1";
/** Endpoints for new flows: a fresh one for every round and case, so that no flow is met twice. */
let nextEndpoint = 0;
const freshEndpoint = () => `10.0.${++nextEndpoint >> 8}.${nextEndpoint & 255}`;

/** Three endpoints whose flows share a slot; others for each case, so that none meets the others' flows. */
function neighbours(): readonly [string, string, string] {
  const first = freshEndpoint();
  const slotOf = (endpoint: string) => outboundSlotOf(endpoint, ["203.0.113.0"], PORTS_PER_SLOT).slot;
  const another = (): string => {
    const endpoint = freshEndpoint();
    return slotOf(endpoint) === slotOf(first) ? endpoint : another();
  };
  return [first, another(), another()];
}

/**
 * New flows of an endpoint while others hold so many of its slot's ports toward the same remote, another one in each round. `earlier` flows have looked
 * for a port where they were taken.
 */
function crowded(name: string, taken: number, earlier: number, repeat: number, verdict: number): Case {
  const [holder, pioneer, comer] = neighbours();
  const remote = (round: number) => `198.51.${100 + ((taken + earlier) % 100)}.${1 + round}`;
  const opening = (endpoint: string, flows: number): Opening => ({
    frame: (round) => frameOf("tcp", endpoint, remote(round), SYN),
    spread: { sources: flows, destinations: 1 },
  });
  return {
    name,
    role: "inside",
    openings: [opening(holder, taken - earlier), ...(earlier ? [opening(pioneer, earlier)] : [])],
    frame: (round) => frameOf("tcp", comer, remote(round), SYN),
    spread: { sources: repeat, destinations: 1 },
    repeat,
    verdict,
  };
}

const established = (protocol: "tcp" | "udp", flows: number): Case => ({
  name: `established ${protocol.toUpperCase()} packet, ${flows.toLocaleString("en")} ${flows === 1 ? "session" : "sessions"}`,
  role: "inside",
  frame: () => frameOf(protocol, "10.0.255.1", REMOTE, ACK),
  spread: { sources: Math.min(flows, 1000), destinations: Math.ceil(flows / 1000) },
  repeat: 1_000_000,
  openings: [
    {
      frame: () => frameOf(protocol, "10.0.255.1", REMOTE, SYN),
      spread: { sources: Math.min(flows, 1000), destinations: Math.ceil(flows / 1000) },
    },
  ],
});
const CASES: readonly Case[] = [
  established("tcp", 1),
  established("tcp", 1000),
  established("tcp", 100_000),
  established("tcp", 1_000_000),
  established("udp", 1000),
  {
    name: "new TCP flow",
    role: "inside",
    frame: () => frameOf("tcp", freshEndpoint(), REMOTE, SYN),
    spread: { sources: 1, destinations: 20_000 },
    repeat: 20_000,
  },
  {
    name: "new UDP flow of a known endpoint port",
    role: "inside",
    frame: () => frameOf("udp", freshEndpoint(), REMOTE),
    spread: { sources: 1, destinations: 20_000 },
    repeat: 20_000,
  },
  {
    name: "new UDP flow with a new mapping",
    role: "inside",
    frame: () => frameOf("udp", freshEndpoint(), REMOTE),
    spread: { sources: 1000, destinations: 1 },
    repeat: 1000,
  },
  crowded(
    "new TCP flow where 10 % of the ports are taken",
    Math.floor(PORTS_PER_SLOT * 0.1),
    0,
    40,
    REDIRECT,
  ),
  crowded(
    "new TCP flow where 99 % of the ports are taken",
    Math.floor(PORTS_PER_SLOT * 0.99),
    40,
    40,
    REDIRECT,
  ),
  crowded("the same, the first 40 that meet those ports", Math.floor(PORTS_PER_SLOT * 0.99), 0, 40, REDIRECT),
  crowded("new TCP flow where no port is left, refused", PORTS_PER_SLOT, 0, 20_000, DROP),
];

/** With the limits that a gateway has by default, but for the rate. */
const LIMITED: readonly Case[] = [
  {
    name: "new TCP flow of an endpoint with limits",
    role: "inside",
    frame: () => frameOf("tcp", freshEndpoint(), REMOTE, SYN),
    spread: { sources: 1, destinations: 16_000 },
    repeat: 16_000,
  },
  {
    name: "new TCP flow beyond a limit, refused",
    role: "inside",
    openings: [
      {
        frame: () => frameOf("tcp", "10.0.255.2", REMOTE, SYN),
        spread: { sources: 1, destinations: 16_384 },
      },
    ],
    frame: () => frameOf("tcp", "10.0.255.2", "198.51.100.2", SYN),
    spread: { sources: 1, destinations: 20_000 },
    repeat: 20_000,
    verdict: DROP,
  },
];

async function measurePackets(cases: readonly Case[], limits: NatBehaviour["limits"]): Promise<string[][]> {
  await cleanupDataplane(options);
  const dataplane = openDataplane(options);
  const shape = { gateways: 1, addressesEach: 1, portsPerSlot: PORTS_PER_SLOT, ownsAll: true, limits };
  await dataplane.ensure(benchConfig(shape));
  const { object } = loadOnMaps(OBJECT, options.pinFolder, MAX_SESSIONS);
  const bench = loadBenchObject();
  const rows = cases.map((c) => {
    const ifindex = bpf.interfaceIndex(c.role)!;
    bench.setTarget(object.programFd(`natto_${c.role}`));
    const samples = Array.from({ length: ROUNDS }, (_, round) => {
      for (const { frame, spread } of c.openings ?? []) {
        bench.setFrame(frame(round), spread);
        bench.nanoseconds("target", ifindex, spread.sources * spread.destinations, REDIRECT);
      }
      bench.setFrame(c.frame(round), c.spread);
      const floor = bench.nanoseconds("floor", ifindex, c.repeat, PASS);
      bench.setFrame(c.frame(round), c.spread);
      return bench.nanoseconds("target", ifindex, c.repeat, c.verdict ?? REDIRECT) - floor;
    });
    return [c.name, formatSummary(summarize(samples))];
  });
  dataplane.close();
  return rows;
}

/** Bytes of kernel memory for each entry of the session table, as the kernel counts them for its maps. */
async function measureMemory(): Promise<string[]> {
  await cleanupDataplane(options);
  const { object, maps } = loadOnMaps(OBJECT, options.pinFolder, MAX_SESSIONS);
  const bytes = [maps.flows, maps.records, maps.free_records].map(({ fd }) => {
    return Number(/^memlock:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1]);
  });
  object.close();
  const total = bytes.reduce((sum, of) => sum + of, 0);
  return ["memory for each entry of the session table", `${Math.round(total / MAX_SESSIONS)} bytes`];
}

async function measureApply(): Promise<string[]> {
  const config = benchConfig({ gateways: 100, addressesEach: 16, portsPerSlot: 1024, ownsAll: false });
  const samples: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await cleanupDataplane(options);
    const dataplane = openDataplane(options);
    await dataplane.ensure(benchConfig({ gateways: 0, addressesEach: 0, portsPerSlot: 1024, ownsAll: true }));
    const start = performance.now();
    await dataplane.ensure(config);
    samples.push(performance.now() - start);
    dataplane.close();
  }
  return ["programming 100,800 slots (100 gateways, 1,600 addresses)", formatSummary(summarize(samples))];
}

layOutNode();
await cleanupDataplane(options);
const memory = await measureMemory();
const defaults = { ...DEFAULT_BEHAVIOUR.limits, newSessionsPerSecond: 0 };
const rows = [...(await measurePackets(CASES, NO_LIMITS)), ...(await measurePackets(LIMITED, defaults))];
console.log(tableLines([["packet", "ns: median (min–max)"], ...rows]).join("\n"));
console.log();
console.log(tableLines([memory]).join("\n"));
console.log();
console.log(tableLines([["node", "ms: median (min–max)"], await measureApply()]).join("\n"));
await cleanupDataplane(options);
