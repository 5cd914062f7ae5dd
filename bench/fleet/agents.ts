/** Many simulated agents in one process: each with a store of its own, that registers its node and watches its own NodeConfig; no dataplane. */
import { validateObject } from "../../src/model/validate.ts";
import { openMirror } from "../../src/store/mirror.ts";
import { openStore } from "../../src/store/open-store.ts";
import { type AgentsNews, type AgentsTask, wallClock } from "./messages.ts";

const READY = { type: "Ready", status: "True", reason: "Programmed" };

process.once("message", async (task: AgentsTask) => {
  for (const agent of task.agents) await startAgent(task.store, agent);
  tell({ type: "registered" });
});
process.once("disconnect", () => process.exit());

async function startAgent(url: string, { name, cell, address }: AgentsTask["agents"][number]): Promise<void> {
  const store = await openStore(url);
  const node = validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "GatewayNode",
    metadata: { name },
    spec: { cell, address, interfaces: { inside: "in0", outside: "out0" } },
    status: { observedGeneration: 1, counters: {}, conditions: [READY] },
  });
  await store.create(node);
  await store.updateStatus(node);
  const mirror = openMirror(store, { kind: "NodeConfig", name });
  mirror.onChange((change) => {
    if (change.type === "STATE") return;
    const { gateways } = change.object.spec;
    tell({ type: "config", node: name, gateways: gateways.length, at: wallClock() });
  });
}

function tell(news: AgentsNews): void {
  process.send?.(news);
}
