/** The columns with which `natto get` shows each kind. Pure. */

import { isTrouble } from "../model/condition-sense.ts";
import { formatReference } from "../model/event.ts";
import { NODE_READY, ZONE_LABEL } from "../model/gateway-node.ts";
import { type Kind, kindInfo, type ObjectOf } from "../model/kinds.ts";
import { termName } from "../model/leadership.ts";
import type { Condition } from "../model/meta.ts";
import { GATEWAY_READY } from "../model/nat-gateway.ts";
import { NOBODY } from "../model/placement.ts";
import { formatPorts, portCount } from "../model/port-forward.ts";
import { STATIC_READY } from "../model/static-mappings.ts";
import { formatAge } from "./age.ts";

export interface Column<K extends Kind> {
  readonly header: string;
  /** Only with `-o wide`. */
  readonly wide?: boolean;
  /** The cell; empty when there is nothing to say. */
  readonly cell: (object: ObjectOf<K>) => string;
}

const COLUMNS: { readonly [K in Kind]: readonly Column<K>[] } = {
  Cell: [
    { header: "NODES", cell: ({ status }) => (status ? `${status.readyNodes}/${status.totalNodes}` : "") },
    { header: "TTL", wide: true, cell: ({ spec }) => `${spec.membership.ttlSeconds}s` },
    { header: "MAX-LOSS", wide: true, cell: ({ spec }) => `${spec.membership.maxLossPercent}%` },
    { header: "VXLAN-PORT", wide: true, cell: ({ spec }) => `${spec.vxlan.port}` },
    { header: "TROUBLE", wide: true, cell: ({ status }) => trouble(status?.conditions) },
  ],
  GatewayNode: [
    { header: "CELL", cell: ({ spec }) => spec.cell },
    { header: "READY", cell: ({ status }) => conditionStatus(status?.conditions, NODE_READY) },
    { header: "DRAIN", cell: ({ spec }) => (spec.drain ? "yes" : "no") },
    { header: "WEIGHT", cell: ({ spec }) => `${spec.weight}` },
    { header: "ADDRESS", cell: ({ spec }) => spec.address },
    {
      header: "SESSIONS",
      cell: ({ status }) => (status?.sessions ? `${status.sessions.used}/${status.sessions.capacity}` : ""),
    },
    { header: "APPLIED", cell: ({ status }) => `${status?.applied?.generation ?? ""}` },
    { header: "ZONE", wide: true, cell: ({ metadata }) => metadata.labels[ZONE_LABEL] ?? "" },
    { header: "INSIDE", wide: true, cell: ({ spec }) => spec.interfaces.inside },
    { header: "OUTSIDE", wide: true, cell: ({ spec }) => spec.interfaces.outside },
    { header: "AGENT", wide: true, cell: ({ status }) => status?.agent?.version ?? "" },
    { header: "TROUBLE", wide: true, cell: ({ status }) => trouble(status?.conditions) },
  ],
  AddressPool: [
    { header: "CIDRS", cell: ({ spec }) => some(spec.cidrs) },
    { header: "ALLOCATED", cell: ({ status }) => (status ? `${status.allocated}/${status.total}` : "") },
    { header: "TROUBLE", wide: true, cell: ({ status }) => trouble(status?.conditions) },
  ],
  NatGateway: [
    { header: "CELL", cell: ({ spec }) => spec.cell },
    { header: "READY", cell: ({ status }) => conditionStatus(status?.conditions, GATEWAY_READY) },
    { header: "ADDRESSES", cell: ({ status }) => some(status?.addresses ?? []) },
    { header: "SOURCES", cell: ({ spec }) => some(spec.sources) },
    { header: "OWNERS", cell: ({ status }) => `${Object.keys(status?.owners ?? {}).length}` },
    { header: "SLOTS", wide: true, cell: ({ status }) => slotCounts(status?.owners ?? {}) },
    { header: "PORTS/SLOT", wide: true, cell: ({ spec }) => `${spec.ports.perSlot}` },
    { header: "POOL", wide: true, cell: ({ spec }) => spec.addresses.pool },
    { header: "TROUBLE", wide: true, cell: ({ status }) => trouble(status?.conditions) },
  ],
  FloatingAddress: [
    { header: "CELL", cell: ({ spec }) => spec.cell },
    { header: "READY", cell: ({ status }) => conditionStatus(status?.conditions, STATIC_READY) },
    { header: "ADDRESS", cell: ({ status }) => status?.address ?? "" },
    { header: "INSIDE", cell: ({ spec }) => spec.inside },
    { header: "POOL", wide: true, cell: ({ spec }) => spec.pool },
    { header: "TROUBLE", wide: true, cell: ({ status }) => trouble(status?.conditions) },
  ],
  PortForward: [
    { header: "CELL", cell: ({ spec }) => spec.cell },
    { header: "READY", cell: ({ status }) => conditionStatus(status?.conditions, STATIC_READY) },
    { header: "PROTOCOL", cell: ({ spec }) => spec.protocol },
    { header: "ADDRESS", cell: ({ status }) => status?.address ?? "" },
    { header: "PORTS", cell: ({ spec }) => formatPorts(spec.port, portCount(spec)) },
    {
      header: "INSIDE",
      cell: ({ spec }) => `${spec.inside.address}:${formatPorts(spec.inside.port, portCount(spec))}`,
    },
    { header: "FROM", wide: true, cell: ({ spec }) => spec.public.gateway ?? spec.public.pool ?? "" },
    { header: "TROUBLE", wide: true, cell: ({ status }) => trouble(status?.conditions) },
  ],
  Placement: [
    { header: "CELL", cell: ({ spec }) => spec.cell },
    { header: "ADDRESSES", cell: ({ spec }) => some(spec.addresses.map(({ address }) => address)) },
    { header: "NODES", cell: ({ spec }) => some(spec.nodes) },
    { header: "SLOTS", cell: ({ spec }) => `${spec.addresses.flatMap(({ owners }) => owners).length}` },
    {
      header: "UNOWNED",
      cell: ({ spec }) =>
        `${spec.addresses.flatMap(({ owners }) => owners).filter((owner) => owner === NOBODY).length}`,
    },
    { header: "POOL", wide: true, cell: ({ spec }) => spec.pool },
  ],
  NodeConfig: [
    { header: "CELL", cell: ({ spec }) => spec.cell },
    { header: "ADDRESS", cell: ({ spec }) => spec.node.address },
    { header: "PEERS", cell: ({ spec }) => `${spec.peers.length}` },
    { header: "GATEWAYS", cell: ({ spec }) => `${spec.gateways.length}` },
    { header: "GENERATION", cell: ({ metadata }) => `${metadata.generation}` },
  ],
  Rollout: [
    { header: "NUMBER", cell: ({ spec }) => `${spec.number}` },
    { header: "PHASE", cell: ({ spec }) => spec.stage.phase },
    {
      header: "WAVE",
      cell: ({ spec: { stage } }) => (stage.phase === "rolling" ? `${stage.wave}` : ""),
    },
    {
      header: "NODES",
      cell: ({ spec: { stage } }) =>
        stage.phase === "rolling" ? `${Object.keys(stage.released).length}` : "",
    },
    { header: "LAST", cell: ({ spec }) => spec.events.at(-1)?.reason ?? "" },
  ],
  Lease: [
    { header: "CELL", cell: ({ spec }) => spec.cell },
    { header: "RENEWALS", cell: ({ spec }) => `${spec.renewals}` },
    { header: "RENEWED-AT", cell: ({ spec }) => spec.renewedAt },
    { header: "PEERS-ALIVE", cell: ({ spec }) => some(spec.peersAlive) },
  ],
  Leadership: [
    { header: "HOLDER", cell: ({ spec }) => spec.holder },
    { header: "TERM", cell: termName },
    { header: "SINCE", cell: ({ spec }) => spec.since },
    { header: "RENEWED-AT", cell: ({ status }) => status?.renewedAt ?? "" },
    { header: "TTL", wide: true, cell: ({ spec }) => `${spec.ttlMs}ms` },
  ],
  Event: [
    { header: "LAST", cell: ({ spec }) => spec.lastTime },
    { header: "TYPE", cell: ({ spec }) => spec.type },
    { header: "REASON", cell: ({ spec }) => spec.reason },
    { header: "OBJECT", cell: ({ spec }) => formatReference(spec.regarding) },
    { header: "COUNT", cell: ({ spec }) => `${spec.count}` },
    { header: "REPORTER", wide: true, cell: ({ spec }) => spec.reporter },
    { header: "NOTE", cell: ({ spec }) => spec.note },
  ],
  Epoch: [{ header: "COUNT", cell: ({ spec }) => `${spec.count}` }],
};

export interface ColumnOptions {
  readonly wide: boolean;
  /** Whether to show namespaces, of kinds that have them. */
  readonly namespaces: boolean;
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number;
}

/** The columns of a kind, with namespace and name in front and the age at the end. */
export function columnsOf<K extends Kind>(
  kind: K,
  { wide, namespaces, now }: ColumnOptions,
): readonly Column<K>[] {
  const namespace: Column<K> = { header: "NAMESPACE", cell: ({ metadata }) => metadata.namespace ?? "" };
  const name: Column<K> = { header: "NAME", cell: ({ metadata }) => metadata.name };
  const age: Column<K> = {
    header: "AGE",
    cell: ({ metadata }) => formatAge(metadata.creationTimestamp, now()),
  };
  const own = COLUMNS[kind].filter((column) => wide || !column.wide);
  return [...(namespaces && kindInfo(kind).namespaced ? [namespace] : []), name, ...own, age];
}

/** The header and one row for each object. */
export function tableRows<K extends Kind>(
  kind: K,
  objects: readonly ObjectOf<K>[],
  options: ColumnOptions,
): string[][] {
  const columns = columnsOf(kind, options);
  return [
    columns.map(({ header }) => header),
    ...objects.map((object) => columns.map(({ cell }) => cell(object))),
  ];
}

/** The first few words, and how many more there are. */
function some(words: readonly string[], most = 3): string {
  const more = words.length - most;
  return more > 0 ? `${words.slice(0, most).join(",")}+${more}` : words.join(",");
}

function slotCounts(owners: Readonly<Record<string, number>>): string {
  return Object.entries(owners)
    .map(([node, slots]) => `${node}=${slots}`)
    .join(",");
}

function conditionStatus(conditions: readonly Condition[] = [], type: string): string {
  return conditions.find((condition) => condition.type === type)?.status ?? "Unknown";
}

/** The reasons of all conditions that are not as they should be. */
function trouble(conditions: readonly Condition[] = []): string {
  const wrong = conditions.filter(isTrouble);
  return some([...new Set(wrong.map(({ reason }) => reason))]);
}
