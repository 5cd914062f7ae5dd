/** What a round of the controller has made happen, as events: of what was written, and of the members. Pure. */
import { conditionEvents } from "../events/condition-events.ts";
import type { Occurrence } from "../events/occurrence.ts";
import type { MemberState, Members } from "../membership/membership.ts";
import type { ObjectReference } from "../model/event.ts";
import type { AnyObject } from "../model/kinds.ts";
import type { Condition } from "../model/meta.ts";
import type { Placement } from "../model/placement.ts";
import type { RolloutSpec } from "../model/rollout.ts";
import { keyOf, keyText } from "../store/store.ts";
import type { Done } from "./publish.ts";
import type { Stored } from "./writes.ts";

/** The events of what was written, given what was stored before. */
export function writeEvents(stored: Stored, done: readonly Done[]): readonly Occurrence[] {
  if (done.length === 0) return [];
  const before = new Map<string, AnyObject>();
  const kinds = new Set(done.map(({ key }) => key.kind));
  const all: readonly (readonly AnyObject[])[] = [
    ...[stored.cells, stored.nodes, stored.pools, stored.gateways, stored.floats, stored.forwards],
    ...[stored.placements, stored.rollouts],
  ];
  for (const objects of all) {
    if (objects[0] && kinds.has(objects[0].kind)) {
      for (const object of objects) before.set(keyText(keyOf(object)), object);
    }
  }
  return done.flatMap(({ key, object }) => (object ? eventsOf(before.get(keyText(key)), object) : []));
}

function eventsOf(before: AnyObject | undefined, now: AnyObject): readonly Occurrence[] {
  switch (now.kind) {
    case "Placement":
      return before?.kind === "Placement" ? moveEvents(before, now) : [];
    case "Rollout":
      return rolloutEvents(before?.kind === "Rollout" ? before.spec : undefined, now.spec);
    default:
      return conditionEvents(reference(now), conditionsOf(before), conditionsOf(now));
  }
}

function reference({ kind, metadata: { namespace, name } }: AnyObject): ObjectReference {
  return { kind, ...(namespace === undefined ? {} : { namespace }), name };
}

function conditionsOf(object: AnyObject | undefined): readonly Condition[] {
  return object?.status && "conditions" in object.status ? object.status.conditions : [];
}

/** Steps of a rollout after which somebody should look. */
const TROUBLED_STEPS: ReadonlySet<string> = new Set(["Failed", "Undone"]);

function rolloutEvents(before: RolloutSpec | undefined, now: RolloutSpec): readonly Occurrence[] {
  const told = new Set((before?.events ?? []).map((event) => JSON.stringify(event)));
  return now.events
    .filter((event) => !told.has(JSON.stringify(event)))
    .map(({ rollout, reason, message }) => ({
      regarding: { kind: "Cell", name: now.cell },
      type: TROUBLED_STEPS.has(reason) ? "Warning" : "Normal",
      reason: `Rollout${reason}`,
      note: `rollout ${rollout}: ${message}`,
    }));
}

/** Slots of a gateway that got another owner, and the end of moves; those of one write together. */
function moveEvents(before: Placement, now: Placement): readonly Occurrence[] {
  const { namespace, name } = now.metadata;
  const regarding = { kind: "NatGateway", ...(namespace === undefined ? {} : { namespace }), name };
  const [was, is] = [slotsOf(before), slotsOf(now)];
  const changes = new Map<string, number>();
  let moved = 0;
  let ended = 0;
  for (const [slot, { owner, moving }] of is) {
    const earlier = was.get(slot);
    if (!earlier) continue;
    if (earlier.moving && !moving) ended++;
    if (earlier.owner === owner) continue;
    moved++;
    const way = `${earlier.owner ?? "nobody"} to ${owner ?? "nobody"}`;
    changes.set(way, (changes.get(way) ?? 0) + 1);
  }
  const ways = [...changes].sort().map(([way, count]) => `${count} from ${way}`);
  const begun = {
    ...({ regarding, type: "Normal", reason: "SlotsMoved" } as const),
    note: `${moved} of ${is.size} slots have another owner: ${ways.join(", ")}`,
  };
  const over = {
    ...({ regarding, type: "Normal", reason: "MovesEnded" } as const),
    note: `the moves of ${ended} slots have ended: their previous owners have let go of them`,
  };
  return [...(moved > 0 ? [begun] : []), ...(ended > 0 ? [over] : [])];
}

interface SlotState {
  readonly owner: string | undefined;
  readonly moving: boolean;
}

/** `address/slot` → who owns it, and whether it is in a move. */
function slotsOf({ spec }: Placement): ReadonlyMap<string, SlotState> {
  return new Map(
    spec.addresses.flatMap(({ address, owners, moves = [] }) => {
      const moving = new Set(moves.map(({ slot }) => slot));
      return owners.map((owner, slot): [string, SlotState] => [
        `${address}/${slot}`,
        { owner: spec.nodes[owner], moving: moving.has(slot) },
      ]);
    }),
  );
}

const MEMBER_NEWS: Readonly<Record<MemberState, Pick<Occurrence, "type" | "reason" | "note">>> = {
  alive: { type: "Normal", reason: "MemberAlive", note: "its agent is heard of" },
  unmanaged: {
    type: "Warning",
    reason: "AgentSilent",
    note: "its agent is silent, but its dataplane forwards: it keeps its slots and is given no new ones; start the agent",
  },
  gone: {
    type: "Warning",
    reason: "MemberGone",
    note: "its agent is silent and no peer sees it forward, or it says itself that it does not: its slots go to those next in line, unless the loss is doubted",
  },
};

/** The members that changed, of the registered nodes; nothing is told of those that were not known before. */
export function memberEvents(before: Members, now: Members, nodes: Stored["nodes"]): readonly Occurrence[] {
  return nodes.flatMap(({ metadata: { name } }) => {
    const [was, is] = [before.get(name), now.get(name) ?? "gone"];
    if (was === undefined || was === is) return [];
    return [{ regarding: { kind: "GatewayNode", name }, ...MEMBER_NEWS[is] }];
  });
}
