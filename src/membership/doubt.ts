/**
 * Doubt: the news that many nodes of a cell vanished at once is more likely wrong (a broken network of the controllers, a store that does
 * not take heartbeats, an agent release that crashes) than right, and obeying it would do more harm than the loss. Pure.
 *
 * Precisely. A node counts when it is registered, not draining, and was seen alive or owned slots. It is *lost* when it
 * was present and is reported `gone`. The losses of a cell are its doubted nodes and those lost within the last `LOSS_WINDOW_MS`. When there are two
 * or more and they are more than `maxLossPercent` of the nodes present or among the losses, all of them become *doubted*: they count
 * as `unmanaged`, so they keep their slots. A doubted node is present again as soon as it is reported otherwise, and it is forgotten when
 * it is drained or deleted, or when the operator confirms its loss. A loss that was not doubted within the window is believed for good.
 */
import type { MemberState, Members } from "./membership.ts";

export const LOSS_WINDOW_MS = 10_000;

export type Presence =
  | { readonly kind: "present" }
  /** `at`: when it was lost, in milliseconds of the caller's clock. */
  | { readonly kind: "lost"; readonly at: number }
  | { readonly kind: "doubted" };

/** Node → what is thought of it. Nodes that do not count are not in it. */
export type Presences = ReadonlyMap<string, Presence>;

export interface DoubtfulNode {
  readonly name: string;
  readonly cell: string;
  readonly draining: boolean;
  /** The operator says that it is dead. Means nothing while it is not reported `gone`. */
  readonly confirmedLost: boolean;
  /** Whether it owns slots by the placements that stand. */
  readonly ownsSlots: boolean;
}

export interface DoubtInput {
  /** All registered nodes. */
  readonly nodes: readonly DoubtfulNode[];
  readonly members: Members;
  readonly maxLossPercent: (cell: string) => number;
  readonly now: number;
}

export interface Judgement {
  /** To be passed to the next call. */
  readonly presences: Presences;
  /** The members to act upon. */
  readonly members: Members;
  /** Cell → its doubted nodes by name, for cells that have any. */
  readonly doubted: ReadonlyMap<string, readonly string[]>;
}

const PRESENT: Presence = { kind: "present" };
const DOUBTED: Presence = { kind: "doubted" };

/** Decides which losses are believed, given what was thought before. */
export function weighLosses(before: Presences, input: DoubtInput): Judgement {
  const presences = new Map<string, Presence>();
  const nodesOfCell = new Map<string, string[]>();
  for (const node of input.nodes) {
    const state = input.members.get(node.name) ?? "gone";
    if (node.draining || (node.confirmedLost && state === "gone")) continue;
    const presence = nextPresence(before.get(node.name), state, node.ownsSlots, input.now);
    if (!presence) continue;
    presences.set(node.name, presence);
    const names = nodesOfCell.get(node.cell);
    if (names) names.push(node.name);
    else nodesOfCell.set(node.cell, [node.name]);
  }
  const members = new Map(input.members);
  const doubted = new Map<string, readonly string[]>();
  for (const [cell, names] of nodesOfCell) {
    const losses = names.filter((name) => isCurrentLoss(presences.get(name), input.now));
    const present = names.filter((name) => presences.get(name) === PRESENT);
    const share = (losses.length / (losses.length + present.length)) * 100;
    if (losses.length >= 2 && share > input.maxLossPercent(cell)) {
      for (const name of losses) presences.set(name, DOUBTED);
    }
    const doubtful = names.filter((name) => presences.get(name) === DOUBTED).sort();
    for (const name of doubtful) members.set(name, "unmanaged");
    if (doubtful.length > 0) doubted.set(cell, doubtful);
  }
  return { presences, members, doubted };
}

function nextPresence(
  before: Presence | undefined,
  state: MemberState,
  ownsSlots: boolean,
  now: number,
): Presence | undefined {
  if (state === "alive") return PRESENT;
  if (state === "unmanaged") return before || ownsSlots ? PRESENT : undefined;
  if (before && before.kind !== "present") return before;
  return before || ownsSlots ? { kind: "lost", at: now } : undefined;
}

function isCurrentLoss(presence: Presence | undefined, now: number): boolean {
  if (presence?.kind === "doubted") return true;
  return presence?.kind === "lost" && now - presence.at < LOSS_WINDOW_MS;
}
