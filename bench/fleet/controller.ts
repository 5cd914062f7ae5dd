/** The real controller in a process of its own, with members that the bench tells it. */
import { pino } from "pino";
import { startController } from "../../src/controller/controller.ts";
import { openStoreElection } from "../../src/controller/store-election.ts";
import type { MemberState } from "../../src/membership/membership.ts";
import { openStaticMembership } from "../../src/membership/static-membership.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { ControllerTask } from "./messages.ts";

const logger = pino({ level: process.env.BENCH_LOG ?? "error" }, pino.destination(2));
const membership = openStaticMembership(new Map());
let members: ReadonlyMap<string, MemberState> = new Map();

process.on("message", async (task: ControllerTask) => {
  if (task.type === "gone") {
    const gone = new Set(task.nodes);
    membership.set(new Map([...members].map(([name]) => [name, gone.has(name) ? "gone" : "alive"])));
    return;
  }
  members = new Map(task.nodes.map((name) => [name, "alive"]));
  membership.set(members);
  const store = await openStore(task.store);
  const election = openStoreElection({ store, group: "controller", holder: "bench", logger });
  startController({ store, membership, election, logger });
});
process.once("disconnect", () => process.exit());
