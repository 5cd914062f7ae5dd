/**
 * Runs in a host of the lab and declares things all the time: `declarer.ts --store URL --objects N --seed N`. Each object is a gateway
 * whose value is its UDP timeout; it is read, then created, changed or deleted. Writes one JSON line for each operation and what the
 * store said of it (declared-history.ts). Ends on SIGTERM after the operations that are under way.
 */
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { ERRORS, NattoError } from "../../src/errors.ts";
import { emit } from "../../src/lab/traffic/json-lines.ts";
import { type NatGateway, natGatewaySchema } from "../../src/model/nat-gateway.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { Store } from "../../src/store/store.ts";
import type { Operation, Value, WriteOperation } from "./declared-history.ts";
import { type Random, seededRandom } from "./random.ts";

const PAUSE_MS = { least: 50, most: 400 };
/** Timeouts count up from here. */
const FIRST_VALUE = 1_000;
export const CHAOS_NAMESPACE = "chaos";

function gatewayOf(index: number, value: number): NatGateway {
  return natGatewaySchema.parse({
    apiVersion: "natto.dev/v1alpha1",
    kind: "NatGateway",
    metadata: { namespace: CHAOS_NAMESPACE, name: `g${index}` },
    spec: {
      cell: "main",
      sources: [`10.8.${index}.0/24`],
      addresses: { pool: "public", count: 1 },
      timeouts: { udp: value },
    },
  });
}

/** The value of a gateway as the store holds it. */
export function timeoutOf(gateway: NatGateway | undefined): Value {
  return gateway?.spec.timeouts.udp;
}

/** Does a write, and says what the store said of it. An error that is a defect ends the program. */
async function outcomeOf(write: () => Promise<unknown>): Promise<WriteOperation["outcome"]> {
  try {
    await write();
    return "acknowledged";
  } catch (thrown) {
    if (!(thrown instanceof NattoError)) throw thrown;
    return ERRORS[thrown.code].transient ? "unknown" : "refused";
  }
}

async function turn(store: Store, index: number, value: number, random: Random): Promise<void> {
  const object = `g${index}`;
  const key = { kind: "NatGateway", namespace: CHAOS_NAMESPACE, name: object } as const;
  const note = (operation: Operation) => emit({ event: "operation", ...operation });
  let stored: NatGateway | undefined;
  try {
    stored = await store.get(key);
  } catch (thrown) {
    if (thrown instanceof NattoError && thrown.transient) return;
    throw thrown;
  }
  note({ type: "read", object, value: timeoutOf(stored), at: Date.now() });
  const draft = gatewayOf(index, value);
  const remove = stored !== undefined && random.between(0, 1) < 0.2;
  const outcome = await outcomeOf(() => {
    if (!stored) return store.create(draft);
    const { resourceVersion } = stored.metadata;
    if (remove) return store.delete(key, resourceVersion);
    return store.update({ ...draft, metadata: { ...draft.metadata, resourceVersion } });
  });
  note({ type: "write", object, value: remove ? undefined : value, outcome, at: Date.now() });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      store: { type: "string", default: "" },
      objects: { type: "string", default: "4" },
      seed: { type: "string", default: "1" },
    },
  });
  const store = await openStore(values.store);
  let stopping = false;
  process.on("SIGTERM", () => {
    stopping = true;
  });
  emit({ event: "started" });
  const declareOne = async (_: unknown, index: number) => {
    const random = seededRandom(Number(values.seed) + index);
    for (let value = FIRST_VALUE; !stopping; value++) {
      await turn(store, index, value, random);
      await delay(random.between(PAUSE_MS.least, PAUSE_MS.most));
    }
  };
  await Promise.all(Array.from({ length: Number(values.objects) }, declareOne));
  emit({ event: "ended" });
  await store.close();
}

if (import.meta.main) await main();
