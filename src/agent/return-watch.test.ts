import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { nodeConfig, recordingDataplane, recordLogs } from "./fixtures.ts";
import { startReconciler } from "./reconciler.ts";
import { mayActAgain, PATIENCE_MS, startReturnWatch } from "./return-watch.ts";

const DECLARED = { found: "config", generation: 7 } as const;

test("a node acts again when it runs what is declared now, however long that takes", () => {
  const view = { forMs: 0, declared: DECLARED, applied: 7, isIsolated: false };
  assert.equal(mayActAgain(view), true);
  assert.equal(mayActAgain({ ...view, applied: undefined }), false);
  assert.equal(mayActAgain({ ...view, applied: 6, forMs: 3_600_000 }), false);
});

test("a node that hears nothing of the store goes on with what it has after a while", () => {
  const silent = { declared: { found: "nothing" }, applied: 6, isIsolated: false } as const;
  assert.equal(mayActAgain({ ...silent, forMs: PATIENCE_MS - 1 }), false);
  assert.equal(mayActAgain({ ...silent, forMs: PATIENCE_MS }), true);
});

test("a node waits for its peers' answers, but not for ever: they may wait for its own", () => {
  const alone = { declared: DECLARED, applied: 7, isIsolated: true };
  assert.equal(mayActAgain({ ...alone, forMs: PATIENCE_MS - 1 }), false);
  assert.equal(mayActAgain({ ...alone, forMs: PATIENCE_MS }), true);
});

test("a node that stands down asks its backups first, and acts again once the newest configuration is in its maps", async () => {
  const store = openMemoryStore();
  const { spec } = nodeConfig(1);
  const { metadata } = await store.create(nodeConfig(1));
  const { logger, texts } = recordLogs();
  let down = true;
  let noted = 0;
  const dataplane = {
    ...recordingDataplane(),
    standsDown: () => down,
    noteReturn: () => {
      noted++;
    },
    standUp: () => {
      down = false;
    },
  };
  const reconciler = startReconciler({ dataplane, logger, onChange: () => {} });
  const watch = startReturnWatch({
    ...{ node: "a", store, dataplane, reconciler, logger },
    isIsolated: () => false,
  });
  try {
    await until(() => noted === 1, "the return is noted");
    assert.equal(down, true, "nothing is applied yet");
    reconciler.want({ generation: metadata.generation - 1, digest: "old", spec });
    await until(() => reconciler.state().applied?.digest === "old", "an old configuration is applied");
    assert.equal(down, true);
    reconciler.want({ generation: metadata.generation, digest: "new", spec });
    await until(() => !down, "the node acts again");
    assert.equal(reconciler.state().applied?.digest, "new");
    assert.match(texts().join("\n"), /acts again by its configuration: its configuration is the one of now/);
  } finally {
    await watch.stop();
    await reconciler.stop(1000);
    await store.close();
  }
});
