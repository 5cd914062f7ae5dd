/** How far the drain of a node has come. Pure. */
import { NattoError } from "../errors.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Placement, SlotMove } from "../model/placement.ts";

type PlacementSpec = Placement["spec"];

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90s`, `30m`, `2h`, `1d` in seconds. Throws `BadRequest` for anything else. */
export function readDuration(text: string): number {
  const [, digits = "", unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const seconds = Number(digits) * (UNITS[unit] ?? 0);
  if (seconds >= 1 && seconds <= 604_800) return seconds;
  throw new NattoError(
    "BadRequest",
    `'${text}' is no duration from 1s to 7d; write it as 90s, 30m, 2h or 1d`,
  );
}

interface Holdings {
  /** Slots that the node owns. */
  readonly owned: number;
  /** Moves of slots from the node whose ports are still its own. */
  readonly shared: readonly SlotMove[];
  readonly clearing: number;
}

function holdingsOf(name: string, placements: readonly PlacementSpec[]): Holdings {
  const all = placements.flatMap(({ nodes, addresses }) => {
    const index = nodes.indexOf(name);
    return addresses.map(({ owners, moves = [] }) => ({
      owned: owners.filter((owner) => owner === index && index >= 0).length,
      moves: moves.filter((move) => nodes[move.from] === name),
    }));
  });
  const moves = all.flatMap((part) => part.moves);
  return {
    owned: all.reduce((sum, part) => sum + part.owned, 0),
    shared: moves.filter((move) => move.phase === "shared"),
    clearing: moves.filter((move) => move.phase === "clearing").length,
  };
}

/** Whether nothing depends on the node any more. */
export function isDrained(node: GatewayNode, placements: readonly PlacementSpec[]): boolean {
  const { owned, shared, clearing } = holdingsOf(node.metadata.name, placements);
  return owned + shared.length + clearing === 0;
}

/** One line for people; `now` is in milliseconds since 1970. */
export function drainProgress(node: GatewayNode, placements: readonly PlacementSpec[], now: number): string {
  const { owned, shared, clearing } = holdingsOf(node.metadata.name, placements);
  if (owned > 0) return `${owned} slots are still its own`;
  if (shared.length > 0) {
    const left = Math.max(...shared.map((move) => Date.parse(move.until))) - now;
    const sessions = node.status?.moving?.sessions;
    const flows = sessions === undefined ? "flows" : `${sessions} flows`;
    return `${flows} are left in ${shared.length} slots; at most ${describeTime(left)} to go`;
  }
  return clearing > 0 ? `${clearing} slots are being let go` : "drained: nothing is left on it";
}

/** Rounded up, so that a line does not change with every second. */
function describeTime(ms: number): string {
  const minutes = Math.ceil(ms / 60_000);
  return minutes <= 1 ? "a minute" : `${minutes} minutes`;
}
