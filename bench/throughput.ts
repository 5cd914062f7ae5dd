/**
 * Live 64-byte packets, of known flows and each of a new one, through one node: Natto against nftables `snat` and against plain kernel forwarding, in the same topology, in
 * turns. Generator, node and sink are three network namespaces on veth pairs; the generator shares the CPU with the node, so the
 * ratios count, not the figures. Run as root with `node bench/throughput.ts [ROUNDS] [PACKETS]`.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { tableLines } from "../src/cli/table.ts";
import * as bpf from "../src/dataplane/libbpf.ts";
import { enterSandbox, ip, within } from "../src/dataplane/testing/sandbox.ts";
import { cleanupDataplane, openDataplane } from "../src/dataplane/xdp-dataplane.ts";
import { frameOf, loadBenchObject, type Spread } from "./bench-object.ts";
import { benchConfig } from "./node-config.ts";
import { formatSummary, summarize } from "./statistics.ts";

const ROUNDS = Number(process.argv[2] ?? 5);
const PACKETS = Number(process.argv[3] ?? 1_000_000);
const FLOWS = { sources: 1000, destinations: 1 };
const NEW_FLOWS = { sources: 1000, destinations: 30 };
const REMOTE = "198.51.100.1";
const SYN = 0x02;
const NODE_MAC = "02:00:00:00:00:0a";
const SINK_MAC = "02:00:00:00:00:0b";

const sandbox = enterSandbox();
const options = {
  node: "a",
  pinFolder: join(sandbox.bpffs, "natto"),
  stateFolder: sandbox.state,
  maxSessions: 262_144,
};

/** The sandbox's own namespace is the generator. */
function layOut(): void {
  for (const name of ["node", "sink"]) execFileSync("ip", ["netns", "add", name]);
  ip([
    `link add out type veth peer name inside netns node address ${NODE_MAC}`,
    "link set out up",
    "addr add 10.0.0.1/16 dev out",
  ]);
  within("node", () => {
    ip([
      `link add outside type veth peer name in netns sink address ${SINK_MAC}`,
      "link set lo up",
      "link set inside up",
      "link set outside up",
      "addr add 192.0.2.1/29 dev inside",
      "addr add 192.0.2.9/29 dev outside",
      `neigh add 192.0.2.10 lladdr ${SINK_MAC} dev outside`,
      "route add 10.0.0.0/8 dev inside",
      "route add default via 192.0.2.10",
    ]);
    execFileSync("sh", [
      "-c",
      "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 0 > /proc/sys/net/ipv4/conf/inside/rp_filter",
    ]);
    for (const name of ["inside", "outside"]) execFileSync("ethtool", ["-K", name, "gro", "on"]);
  });
  within("sink", () => ip(["link set in up"]));
}

const nft = (rules: string) => within("node", () => execFileSync("nft", ["-f", "-"], { input: rules }));

interface Way {
  readonly name: string;
  begin(): void;
  end(): void;
}

const CONFIG = benchConfig({ gateways: 1, addressesEach: 1, portsPerSlot: 3072, ownsAll: true });
const WAYS: readonly Way[] = [
  { name: "kernel forwarding, no NAT", begin: () => {}, end: () => {} },
  {
    name: "nftables snat",
    begin: () =>
      void nft(
        `table ip peer { chain post { type nat hook postrouting priority 100; oifname "outside" snat to 203.0.113.1; }; }`,
      ),
    end: () => void nft("delete table ip peer"),
  },
  {
    name: "Natto",
    begin: () =>
      within("node", () => {
        const dataplane = openDataplane(options);
        void dataplane.ensure(CONFIG);
        dataplane.close();
      }),
    end: () => within("node", () => void cleanupDataplane(options)),
  },
];

layOut();
const bench = loadBenchObject();
const sinkLink = within("sink", () => bpf.createXdpLink(bench.sinkProgram, bpf.interfaceIndex("in")!, "in"));

interface Measured {
  readonly rates: Map<string, number[]>;
  readonly losses: Map<string, number>;
}

const measured = (): Measured => ({
  rates: new Map(WAYS.map((way) => [way.name, []])),
  losses: new Map(WAYS.map((way) => [way.name, 0])),
});

/** Sends packets and notes how many a second arrived, in millions. */
function measure(way: Way, packets: number, { rates, losses }: Measured): void {
  const before = bench.received();
  const seconds = bench.generate(packets);
  const got = bench.received() - before;
  if (got === 0) throw new Error(`${way.name}: no packet arrived`);
  rates.get(way.name)!.push(got / seconds / 1e6);
  losses.set(way.name, losses.get(way.name)! + packets - got);
}

const [known, fresh] = [measured(), measured()];
for (let round = 0; round < ROUNDS; round++) {
  for (const way of WAYS) {
    way.begin();
    const send = (endpoint: string, protocol: "tcp" | "udp", spread: Spread) =>
      bench.setFrame(frameOf(protocol, endpoint, REMOTE, SYN, NODE_MAC), spread, bpf.interfaceIndex("out"));
    send("10.0.0.5", "udp", FLOWS);
    bench.generate(20_000);
    measure(way, PACKETS, known);
    // Another endpoint in each round: what nftables has seen of one stays known.
    send(`10.0.1.${round + 1}`, "tcp", NEW_FLOWS);
    measure(way, NEW_FLOWS.sources * NEW_FLOWS.destinations, fresh);
    way.end();
  }
}
bpf.closeFd(sinkLink);

function report(what: string, { rates, losses }: Measured, packets: number): void {
  const summaries = [...rates].map(([name, samples]) => [name, summarize(samples)] as const);
  const peer = summaries.find(([name]) => name === "nftables snat")![1].median;
  const rows = summaries.map(([name, summary]) => [
    name,
    formatSummary(summary, 2),
    (summary.median / peer).toFixed(2),
    `${Math.max(0, (100 * losses.get(name)!) / (ROUNDS * packets)).toFixed(1)} %`,
  ]);
  console.log(
    tableLines([[what, "Mpps: median (min–max)", "against nftables", "not arrived"], ...rows]).join("\n"),
  );
}

report("packets of known flows", known, PACKETS);
console.log();
report("packets that each begin a TCP flow", fresh, NEW_FLOWS.sources * NEW_FLOWS.destinations);
