/** What the tests of routing share: a router with a real BIRD in a network namespace of its own, and a node that is connected to it on both sides. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ip } from "../dataplane/testing/sandbox.ts";
import { type CellRouting, cellRoutingSchema, type RoutingConfig, resolveRouting } from "../model/routing.ts";
import { runOrThrow } from "../run-command.ts";
import { type Announcements, sortPrefixes } from "./announcements.ts";
import { askBird } from "./bird-control.ts";
import { birdFiles, birdPid, startBird } from "./bird-daemon.ts";
import { readPrefixes } from "./bird-status.ts";

export const NODE = { address: "10.254.0.1", interfaces: { inside: "in0", outside: "out0" } };
/** Lists the TCP connections of BGP sessions. */
export const ESTABLISHED_BGP = "ss -Htn state established ( sport = :179 or dport = :179 )".split(" ");

/** The two ends of each connection in what `ESTABLISHED_BGP` wrote, without the lengths of its queues. */
export function connectionsIn(text: string): string[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => line.replace(/^\s*\d+\s+\d+\s+/, "")).sort();
}

export const ROUTER_AS = 64512;

/** The routing of a cell, with its defaults, for one of its nodes. */
export function routing(input: object): RoutingConfig {
  const cell: CellRouting = cellRoutingSchema.parse(input);
  const resolved = resolveRouting(cell, undefined);
  assert(resolved);
  return resolved;
}

export interface TestRouter {
  /** What it has been told over the session of each side. */
  learned(): Promise<Announcements>;
  /** The TCP connections of its sessions, ports included: a session that was dropped comes back with another port. */
  connections(): Promise<string>;
  stop(): void;
}

/** To be called once, in a sandbox: connects in0 and out0 of this namespace to a router in another, whose BIRD expects this node as AS 64600. */
export async function startTestRouter(folder: string): Promise<TestRouter> {
  ip([
    "netns add fabric",
    "link add in0 type veth peer name in0 netns fabric",
    "link add out0 type veth peer name out0 netns fabric",
    ...["in0", "out0"].flatMap((name, i) => [`addr add 10.9.${i}.1/31 dev ${name}`, `link set ${name} up`]),
    "addr add 10.254.0.1/32 dev lo",
  ]);
  const inside = ["in0", "out0"].flatMap((name, i) => [
    `addr add 10.9.${i}.0/31 dev ${name}`,
    `link set ${name} up`,
  ]);
  await runOrThrow("set up the router", ["ip", "-n", "fabric", "-batch", "-"], inside.join("\n"));
  const files = birdFiles(join(folder, "router"));
  mkdirSync(files.folder, { recursive: true });
  writeFileSync(files.config, ROUTER_CONFIG);
  await startBird(files, "fabric");
  return {
    async learned() {
      const tables = await askBird(
        files.socket,
        ["inside", "outside"].map((t) => `show route table ${t}`),
      );
      const [inner = [], outer = []] = tables.map((answer) => sortPrefixes(readPrefixes(answer, "_node")));
      return { inside: inner, outside: outer };
    },
    async connections() {
      const argv = ["ip", "netns", "exec", "fabric", ...ESTABLISHED_BGP];
      return connectionsIn(await runOrThrow("list the sessions", argv)).join("\n");
    },
    stop() {
      const pid = birdPid(files);
      if (pid !== undefined) process.kill(pid, "SIGKILL");
    },
  };
}

const ROUTER_CONFIG = `router id 10.255.0.1;
protocol device {}
protocol bfd { interface "*" { interval 100 ms; multiplier 5; }; }
${[0, 1]
  .map((i) => {
    const side = i === 0 ? "inside" : "outside";
    return `ipv4 table ${side};
protocol bgp ${side}_node {
  local as ${ROUTER_AS};
  neighbor 10.9.${i}.1 as 64600;
  bfd on;
  connect delay time 1; error wait time 1, 2; error forget time 5;
  ipv4 { table ${side}; import all; export none; };
}`;
  })
  .join("\n")}
`;
