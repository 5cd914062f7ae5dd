/**
 * Many new UDP flows at once: `node new-flows.ts --server ADDRESS [--port 7007] --count N`. Writes `{"event":"report", …}`, a FreshReport, when each has been
 * answered or has waited long enough.
 */
import { parseArgs } from "node:util";
import { freshFlows } from "./fresh-flows.ts";
import { emit } from "./json-lines.ts";

/** So many are begun before others get the processor. */
const AT_ONCE = 50;
const PATIENCE_MS = 5000;

const { values } = parseArgs({
  options: {
    server: { type: "string" },
    port: { type: "string", default: "7007" },
    count: { type: "string" },
  },
});
const flows = freshFlows(values.server ?? "", Number(values.port), process.pid, () => Date.now());
for (let begun = 0; begun < Number(values.count); begun++) {
  if (begun % AT_ONCE === 0) await new Promise(setImmediate);
  flows.attempt();
}
await flows.settle(PATIENCE_MS);
emit({ event: "report", ...flows.report() });
flows.close();
