/**
 * The experiment that Natto is about: a node loses its power. Every endpoint probes an outside host with numbered packets over many flows;
 * a node's links are cut and its agent is killed, without warning; then every flow's losses are counted, in both directions.
 */
import type { Lab } from "../lab/lab.ts";
import type { FreshReport } from "../lab/traffic/fresh-flows.ts";
import type { TcpFlowReport } from "../lab/traffic/tcp-flows.ts";
import { startProber } from "../lab/traffic/traffic.ts";
import type { UdpFlowReport } from "../lab/traffic/udp-flows.ts";
import type { Placement } from "../model/placement.ts";
import { listObjects } from "./cloud.ts";
import {
  type FlowEnds,
  type FlowPath,
  flowPaths,
  hostAddress,
  type Involvement,
  involvement,
  parseEndpoint,
} from "./flow-paths.ts";

const PROBE_PORT = 7007;
const FIRST_LOCAL_PORT = 20_000;

export interface ProbeOptions {
  /** Who owns which slot, where nobody can be asked. */
  readonly placements?: readonly Placement[];
  readonly endpoints: readonly string[];
  /** The outside host that answers. */
  readonly server: string;
  /** Lasting UDP flows of each endpoint, and packets per second of each flow. */
  readonly flows: number;
  readonly rate: number;
  /** Lasting TCP connections of each endpoint, at the same rate. Default 0. */
  readonly tcp?: number;
  /** New flows that each endpoint tries in a second. */
  readonly fresh: number;
}

export interface ProbedFlow {
  readonly host: string;
  /** While everything was well. */
  readonly path: FlowPath;
  readonly report: UdpFlowReport;
}

export interface ProbeReport {
  readonly flows: readonly ProbedFlow[];
  readonly tcp: readonly TcpFlowReport[];
  /** Endpoint → what became of its new flows. */
  readonly fresh: ReadonlyMap<string, FreshReport>;
  /** Endpoint → the longest time in which its new flows were not answered, in milliseconds. */
  readonly freshGaps: ReadonlyMap<string, number>;
}

export interface Probing {
  readonly paths: readonly FlowPath[];
  /** Ends the probing and counts. */
  stop(): Promise<ProbeReport>;
}

/** Packets of a flow that did not come through, in either direction. */
export function lostPackets({ lostOutbound, lostInbound, unresolved }: UdpFlowReport): number {
  return lostOutbound + lostInbound + unresolved;
}

/** Starts probing from all endpoints, and waits until every flow has been answered and its path is known. */
export async function startProbing(lab: Lab, options: ProbeOptions): Promise<Probing> {
  const { endpoints, server, flows, rate, tcp = 0, fresh } = options;
  const remote = { address: hostAddress(lab, server), port: PROBE_PORT };
  const probers = await Promise.all(
    endpoints.map((host) =>
      startProber(lab, host, {
        server: remote.address,
        udp: flows,
        tcp,
        rate,
        fresh,
        localPort: FIRST_LOCAL_PORT,
      }),
    ),
  );
  const answered = await Promise.all(probers.map((prober) => prober.answered(30_000)));
  const ends = endpoints.flatMap((host, i) =>
    answered[i]!.map(
      ({ localPort, outside }): FlowEnds => ({
        protocol: "udp",
        host,
        inside: { address: hostAddress(lab, host), port: localPort },
        public: parseEndpoint(outside),
        remoteHost: server,
        remote,
      }),
    ),
  );
  const placements = options.placements ?? (await listObjects(lab, "Placement"));
  const paths = await flowPaths(lab, placements, ends);
  return {
    paths,
    async stop() {
      const reports = await Promise.all(probers.map((prober) => prober.stop()));
      const probed = reports.flatMap(({ udp }, i) => udp.map((report) => ({ host: endpoints[i]!, report })));
      return {
        flows: probed.map((flow, i) => ({ ...flow, path: paths[i]! })),
        tcp: reports.flatMap((report) => report.tcp),
        fresh: new Map(reports.flatMap(({ fresh: f }, i) => (f ? [[endpoints[i]!, f] as const] : []))),
        freshGaps: new Map(reports.map(({ fresh: f }, i) => [endpoints[i]!, f?.longestGap?.ms ?? 0])),
      };
    },
  };
}

/** A node's power goes: its fabric and management links, and its agent. What the machine's kernel still does reaches nobody. */
export async function powerOff(lab: Lab, node: string): Promise<void> {
  await lab.cutLinks(node, { management: true });
  (await lab.process(node, "agent")).kill("SIGKILL");
}

export interface LossSummary {
  readonly flows: number;
  /** Flows that lost packets, or came back from another address:port. */
  readonly touched: number;
  readonly moved: number;
  readonly sent: number;
  readonly lost: number;
  /** Of any flow. */
  readonly mostLost: number;
  readonly longestGapMs: number;
}

/** Sums up the flows of each kind of involvement with a node. */
export function summarizeLosses(
  flows: readonly ProbedFlow[],
  node: string,
): Readonly<Record<Involvement, LossSummary>> {
  const of = (kind: Involvement): LossSummary => {
    const chosen = flows.filter((flow) => involvement(flow.path, node) === kind).map((flow) => flow.report);
    const losses = chosen.map(lostPackets);
    const moved = chosen.filter((report) => report.outside.length > 1);
    return {
      flows: chosen.length,
      touched: chosen.filter((report) => lostPackets(report) > 0 || report.outside.length > 1).length,
      moved: moved.length,
      sent: chosen.reduce((sum, report) => sum + report.sent, 0),
      lost: losses.reduce((sum, n) => sum + n, 0),
      mostLost: Math.max(0, ...losses),
      longestGapMs: Math.max(0, ...chosen.map((report) => report.longestGap?.ms ?? 0)),
    };
  };
  return { own: of("own"), crosses: of("crosses"), elsewhere: of("elsewhere") };
}
