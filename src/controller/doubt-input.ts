/** What the stored objects say about nodes, as far as it matters to whether their loss is believed. Pure. */
import type { DoubtInput } from "../membership/doubt.ts";
import type { Members } from "../membership/membership.ts";
import { countOwners } from "../planner/statuses.ts";
import type { Stored } from "./writes.ts";

/** Of a cell that is not there (yet): the default of `Cell.spec.membership.maxLossPercent`. */
const DEFAULT_MAX_LOSS_PERCENT = 50;

/** `now`: milliseconds of a clock that never goes back. */
export function doubtInput(
  stored: Pick<Stored, "cells" | "nodes" | "placements">,
  members: Members,
  now: number,
): DoubtInput {
  const owners = new Set(stored.placements.flatMap(({ spec }) => Object.keys(countOwners(spec).owners)));
  const limits = new Map(stored.cells.map((cell) => [cell.metadata.name, cell.spec.membership]));
  return {
    nodes: stored.nodes.map(({ metadata, spec }) => ({
      name: metadata.name,
      cell: spec.cell,
      draining: spec.drain,
      confirmedLost: limits.get(spec.cell)?.confirmedLost.includes(metadata.name) ?? false,
      ownsSlots: owners.has(metadata.name),
    })),
    members,
    maxLossPercent: (cell) => limits.get(cell)?.maxLossPercent ?? DEFAULT_MAX_LOSS_PERCENT,
    now,
  };
}
