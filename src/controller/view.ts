/** The controller's view of the store: a mirror of every kind that it reads or writes, and what of their changes matters. */
import { isDeepStrictEqual } from "node:util";
import { SYSTEM_CLOCK } from "../clock.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Kind, ObjectOf } from "../model/kinds.ts";
import { fullPercent, LOW_PERCENT } from "../model/usage.ts";
import { type Mirror, type MirrorOptions, openMirror } from "../store/mirror.ts";
import { keyOf, keyText, type Store } from "../store/store.ts";
import type { Done } from "./publish.ts";
import type { Stored } from "./writes.ts";

export interface View {
  /** Whether everything is known and nothing is old. While it is not, nothing may be concluded from it. */
  current(): boolean;
  stored(): Stored;
  /** Waits until the view shows these writes (or later ones), but no longer than the limit in milliseconds. */
  untilSeen(done: readonly Done[], limitMs: number, signal: AbortSignal): Promise<void>;
  /**
   * Asks the store for all placements and rollouts and waits until the view shows them as they are now (or later ones), within the limit;
   * false if it does not. A new leader must know what the one before has given out, however short a time ago.
   */
  catchUp(limitMs: number, signal: AbortSignal): Promise<boolean>;
  close(): Promise<void>;
}

/** Follows the store, and calls back after changes that can matter to a plan. */
export function openView(store: Store, onChange: () => void, options: MirrorOptions = {}): View {
  const { clock = SYSTEM_CLOCK } = options;
  const mirrors = {
    Cell: openMirror(store, { kind: "Cell" }, options),
    GatewayNode: openMirror(store, { kind: "GatewayNode" }, options),
    AddressPool: openMirror(store, { kind: "AddressPool" }, options),
    NatGateway: openMirror(store, { kind: "NatGateway" }, options),
    FloatingAddress: openMirror(store, { kind: "FloatingAddress" }, options),
    PortForward: openMirror(store, { kind: "PortForward" }, options),
    Placement: openMirror(store, { kind: "Placement" }, options),
    NodeConfig: openMirror(store, { kind: "NodeConfig" }, options),
    Rollout: openMirror(store, { kind: "Rollout" }, options),
    Lease: openMirror(store, { kind: "Lease" }, options),
  } as const;
  const all = Object.values(mirrors);
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of [...listeners]) listener();
  };
  for (const mirror of all) mirror.onChange(changed);

  follow(mirrors.Cell, onChange);
  follow(mirrors.AddressPool, onChange);
  follow(mirrors.NatGateway, onChange);
  follow(mirrors.FloatingAddress, onChange);
  follow(mirrors.PortForward, onChange);
  follow(mirrors.Placement, onChange);
  follow(mirrors.NodeConfig, onChange);
  follow(mirrors.Rollout, onChange);
  follow(mirrors.GatewayNode, onChange, matterOfNode);
  // Heartbeats are the business of the membership.
  follow(mirrors.Lease, onChange, () => undefined);

  const isUnseen = ({ key, before }: Done): boolean => {
    const mirror = all.find(({ selection }) => selection.kind === key.kind);
    return mirror?.get(key.name, key.namespace)?.metadata.resourceVersion === before;
  };

  const untilSeen: View["untilSeen"] = async (done, limitMs, signal) => {
    let unseen = done.filter(isUnseen);
    if (unseen.length === 0 || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    // The first one stands for all: the rest is looked at only when that has been seen.
    const check = (): void => {
      if (isUnseen(unseen[0]!)) return;
      unseen = unseen.filter(isUnseen);
      if (unseen.length === 0) resolve();
    };
    const cancel = clock.after(limitMs, resolve);
    signal.addEventListener("abort", () => resolve(), { once: true });
    listeners.add(check);
    check();
    await promise;
    listeners.delete(check);
    cancel();
  };

  /** How the view differs from what is stored now, as if somebody had just made it so. */
  async function missed<K extends Kind>(mirror: Mirror<K>): Promise<readonly Done[]> {
    const { items } = await store.list(mirror.selection);
    const listed = new Map(items.map((item) => [keyText(keyOf(item)), item]));
    const gone = mirror.items().filter((item) => !listed.has(keyText(keyOf(item))));
    return [...items, ...gone].flatMap((item): Done[] => {
      const key = keyOf(item);
      const object = listed.get(keyText(key));
      const before = mirror.get(key.name, key.namespace)?.metadata.resourceVersion;
      return before === object?.metadata.resourceVersion ? [] : [{ key, before, object }];
    });
  }

  return {
    current: () => all.every((mirror) => mirror.synced() && mirror.staleSince() === undefined),
    stored: () => ({
      cells: mirrors.Cell.items(),
      nodes: mirrors.GatewayNode.items(),
      pools: mirrors.AddressPool.items(),
      gateways: mirrors.NatGateway.items(),
      floats: mirrors.FloatingAddress.items(),
      forwards: mirrors.PortForward.items(),
      placements: mirrors.Placement.items(),
      nodeConfigs: mirrors.NodeConfig.items(),
      rollouts: mirrors.Rollout.items(),
      leases: mirrors.Lease.items(),
    }),
    untilSeen,
    catchUp: async (limitMs, signal) => {
      const behind = [...(await missed(mirrors.Placement)), ...(await missed(mirrors.Rollout))];
      await untilSeen(behind, limitMs, signal);
      return !behind.some(isUnseen);
    },
    close: async () => {
      await Promise.all(all.map((mirror) => mirror.close()));
    },
  };
}

/** Calls back when an object comes or goes, when what matters of it changes, and when the mirror's state does. */
function follow<K extends Kind>(
  mirror: Mirror<K>,
  onChange: () => void,
  matter?: (object: ObjectOf<K>) => unknown,
): void {
  const known = new Map<string, unknown>();
  mirror.onChange((change) => {
    if (change.type === "STATE" || !matter) return onChange();
    const { namespace, name } = change.object.metadata;
    const key = keyText({ kind: mirror.selection.kind, namespace, name });
    const before = known.get(key);
    const after = change.type === "DELETED" ? undefined : matter(change.object);
    known.set(key, after);
    if (after === undefined) known.delete(key);
    if (!isDeepStrictEqual(before, after)) onChange();
  });
}

/** Nodes report counters all the time; this is what the planner and the rollouts look at. */
function matterOfNode({ metadata, spec, status }: GatewayNode): unknown {
  const conditions = status?.conditions.map(({ type, status: state }) => [type, state]);
  const ports = status?.usage?.map((usage) => [
    usage.gateway,
    usage.refusing,
    fullPercent(usage) >= LOW_PERCENT,
  ]);
  const isEmpty = status?.moving?.sessions === 0;
  return [metadata.uid, metadata.labels, spec, conditions, status?.applied, ports, isEmpty];
}
