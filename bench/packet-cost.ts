/**
 * What one packet costs the program, by BPF_PROG_TEST_RUN on a fresh packet each time, less what it costs to make that packet; and how
 * long a node takes to program 100,000 slots. Run as root with `node bench/packet-cost.ts [ROUNDS]`.
 */
import { join } from "node:path";
import { tableLines } from "../src/cli/table.ts";
import { loadOnMaps } from "../src/dataplane/kernel-maps.ts";
import * as bpf from "../src/dataplane/libbpf.ts";
import { enterSandbox, ip } from "../src/dataplane/testing/sandbox.ts";
import { cleanupDataplane, openDataplane } from "../src/dataplane/xdp-dataplane.ts";
import { frameOf, loadBenchObject, type Spread } from "./bench-object.ts";
import { benchConfig } from "./node-config.ts";
import { formatSummary, summarize } from "./statistics.ts";

const ROUNDS = Number(process.argv[2] ?? 5);
const MAX_SESSIONS = 1_048_576;
const OBJECT = join(import.meta.dirname, "../build/natto.bpf.o");
const [SYN, ACK] = [0x02, 0x10];
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

interface Case {
  readonly name: string;
  readonly role: "inside" | "outside";
  /** The frames of a round; each round has flows of its own where `fresh` is set. */
  frame(round: number): Buffer;
  readonly spread: Spread;
  readonly repeat: number;
  /** Sent once before the measurement, to make the sessions. */
  readonly opening?: Buffer;
}

const REMOTE = "198.51.100.1";
/** Endpoints for new flows: a fresh one for every round and case, so that no flow is met twice. */
let nextEndpoint = 0;
const freshEndpoint = () => `10.0.${++nextEndpoint >> 8}.${nextEndpoint & 255}`;
const established = (protocol: "tcp" | "udp", flows: number): Case => ({
  name: `established ${protocol.toUpperCase()} packet, ${flows.toLocaleString("en")} ${flows === 1 ? "session" : "sessions"}`,
  role: "inside",
  frame: () => frameOf(protocol, "10.0.255.1", REMOTE, ACK),
  spread: { sources: Math.min(flows, 1000), destinations: Math.ceil(flows / 1000) },
  repeat: 1_000_000,
  opening: frameOf(protocol, "10.0.255.1", REMOTE, SYN),
});
const CASES: readonly Case[] = [
  established("tcp", 1),
  established("tcp", 1000),
  established("tcp", 100_000),
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
];

function measurePackets(): string[][] {
  const dataplane = openDataplane(options);
  void dataplane.ensure(benchConfig({ gateways: 1, addressesEach: 1, portsPerSlot: 9216, ownsAll: true }));
  const { object } = loadOnMaps(OBJECT, options.pinFolder, MAX_SESSIONS);
  const bench = loadBenchObject();
  const rows = CASES.map((c) => {
    const ifindex = bpf.interfaceIndex(c.role)!;
    bench.setTarget(object.programFd(`natto_${c.role}`));
    if (c.opening) {
      bench.setFrame(c.opening, c.spread);
      bench.nanoseconds("target", ifindex, c.spread.sources * c.spread.destinations, REDIRECT);
    }
    const samples = Array.from({ length: ROUNDS }, (_, round) => {
      bench.setFrame(c.frame(round), c.spread);
      const floor = bench.nanoseconds("floor", ifindex, c.repeat, PASS);
      bench.setFrame(c.frame(round), c.spread);
      return bench.nanoseconds("target", ifindex, c.repeat, REDIRECT) - floor;
    });
    return [c.name, formatSummary(summarize(samples))];
  });
  dataplane.close();
  return rows;
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
const rows = measurePackets();
console.log(tableLines([["packet", "ns: median (min–max)"], ...rows]).join("\n"));
console.log();
console.log(tableLines([["node", "ms: median (min–max)"], await measureApply()]).join("\n"));
await cleanupDataplane(options);
