/** What the controller tells Prometheus. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Election } from "./election.ts";

export interface RoundFigures {
  readonly planSeconds: number;
  readonly movedSlots: number;
  readonly written: number;
  readonly overtaken: number;
  readonly failed: number;
  readonly doubtedNodes: number;
}

/** Registers the controller's metrics; returns the function that records a round. Without a registry, one that does nothing. */
export function makeControllerMetrics(
  registry: Registry | undefined,
  election: Election | undefined,
): (figures: RoundFigures) => void {
  if (!registry) return () => {};
  const registers = [registry];
  if (election) addElectionMetrics(registers, election);
  const duration = new Histogram({
    name: "natto_plan_duration_seconds",
    help: "Time that one plan took.",
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers,
  });
  const moved = new Counter({
    name: "natto_plan_moved_slots_total",
    help: "Slots that were given to another owner.",
    registers,
  });
  const writes = new Counter({
    name: "natto_controller_writes_total",
    help: "Writes to the store by outcome; what was overtaken is planned again.",
    labelNames: ["outcome"],
    registers,
  });
  const doubted = new Gauge({
    name: "natto_doubted_nodes",
    help: "Nodes whose loss is not believed; see condition MembershipDoubted of the cells.",
    registers,
  });
  return (figures) => {
    duration.observe(figures.planSeconds);
    moved.inc(figures.movedSlots);
    writes.inc({ outcome: "done" }, figures.written);
    writes.inc({ outcome: "overtaken" }, figures.overtaken);
    writes.inc({ outcome: "failed" }, figures.failed);
    doubted.set(figures.doubtedNodes);
  };
}

function addElectionMetrics(registers: Registry[], election: Election): void {
  new Gauge({
    name: "natto_controller_leads",
    help: "1 while this controller leads, 0 while it stands by. The sum over all controllers is 1.",
    registers,
    collect() {
      this.set(election.term() ? 1 : 0);
    },
  });
  const terms = new Counter({
    name: "natto_controller_terms_total",
    help: "Times at which this controller began to lead.",
    registers,
  });
  if (election.term()) terms.inc();
  election.onChange(() => {
    if (election.term()) terms.inc();
  });
}
