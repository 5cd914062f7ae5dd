import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { NattoError } from "../errors.ts";
import { contractOfStores } from "./contract.ts";
import { cell } from "./fixtures.ts";
import { DEFAULT_HISTORY } from "./key-value.ts";
import { openSqliteStore } from "./sqlite-store.ts";

async function temporaryFile(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "natto-store-"));
  t.after(() => rm(folder, { recursive: true }));
  return join(folder, "natto.db");
}

contractOfStores("sqlite", async (t, setup = {}) => {
  const { maxChanges = DEFAULT_HISTORY.maxChanges, bookmarkMs = 5_000 } = setup;
  const store = openSqliteStore(await temporaryFile(t), {
    history: { ...DEFAULT_HISTORY, maxChanges },
    bookmarkMs,
  });
  t.after(() => store.close());
  return store;
});

function refusal(path: string): NattoError {
  try {
    void openSqliteStore(path).close();
  } catch (error) {
    assert(error instanceof NattoError, String(error));
    return error;
  }
  return assert.fail(`${path} was opened`);
}

test("what was written, and the past for watches, is there after closing and opening", async (t) => {
  const path = await temporaryFile(t);
  const first = openSqliteStore(path);
  const start = await first.list({ kind: "Cell" });
  await first.create(cell("c1", 1));
  const updated = await first.update(cell("c1", 2));
  await first.close();
  const second = openSqliteStore(path);
  t.after(() => second.close());
  assert.deepEqual((await second.list({ kind: "Cell" })).items, [updated]);
  assert.equal((await second.list({ kind: "Cell" })).resourceVersion, updated.metadata.resourceVersion);
  const seen: string[] = [];
  for await (const event of second.watch({ kind: "Cell" }, start.resourceVersion, t.signal)) {
    if (event.type === "BOOKMARK") break;
    seen.push(event.type);
  }
  assert.deepEqual(seen, ["ADDED", "MODIFIED"]);
});

test("the past is bounded by its size too, across openings", async (t) => {
  const path = await temporaryFile(t);
  const history = { maxChanges: 1_000, maxBytes: 5_000 };
  const annotations = { bulk: "x".repeat(1_000) };
  for (let round = 0; round < 2; round++) {
    const store = openSqliteStore(path, { history });
    for (let i = 0; i < 10; i++) {
      const draft = cell(`c${round}-${i}`);
      await store.create({ ...draft, metadata: { ...draft.metadata, annotations } });
    }
    await store.close();
  }
  const database = new DatabaseSync(path);
  t.after(() => database.close());
  const kept = database.prepare("SELECT count(*) AS n, sum(bytes) AS bytes FROM changes").get();
  assert(Number(kept?.bytes) <= 5_000, `${kept?.bytes} bytes kept`);
  assert(Number(kept?.n) >= 3, `${kept?.n} changes kept`);
});

test("a file that another process has open is refused, and free when that process is killed", async (t) => {
  const path = await temporaryFile(t);
  const holder = await startWriter(t, path);
  const error = refusal(path);
  assert.equal(error.code, "Environment");
  assert.match(error.message, /in use by another process; stop that process/);
  await kill(holder.process);
  await openSqliteStore(path).close();
});

test("a file opened twice by one process is refused", async (t) => {
  const path = await temporaryFile(t);
  const store = openSqliteStore(path);
  t.after(() => store.close());
  assert.match(refusal(path).message, /in use/);
});

test("a file by a newer Natto, of another program, of no database, or in no folder is refused with the reason", async (t) => {
  const path = await temporaryFile(t);
  await openSqliteStore(path).close();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 99");
  database.close();
  assert.match(refusal(path).message, /newer Natto \(schema version 99; this one knows up to 1\)/);

  const foreign = await temporaryFile(t);
  const other = new DatabaseSync(foreign);
  other.exec("CREATE TABLE t (x)");
  other.close();
  assert.match(refusal(foreign).message, /another program/);

  const text = await temporaryFile(t);
  await writeFile(text, "this is not a database at all, but it is long enough to be looked at\n".repeat(20));
  assert.match(refusal(text).message, /not a database file/);

  assert.match(refusal(join(text, "nowhere", "natto.db")).message, /check that the folder exists/);
  assert.equal(refusal("").code, "BadRequest");
});

test("a closed store answers Unavailable", async (t) => {
  const store = openSqliteStore(await temporaryFile(t));
  await store.close();
  await assert.rejects(
    store.list({ kind: "Cell" }),
    (e) => e instanceof NattoError && e.code === "Unavailable",
  );
});

/** Writes objects w0, w1, … and updates each once, telling on stdout what was acknowledged. */
const WRITER = `
  import { openSqliteStore } from ${JSON.stringify(new URL("sqlite-store.ts", import.meta.url).href)};
  import { cell } from ${JSON.stringify(new URL("fixtures.ts", import.meta.url).href)};
  const [path, round] = process.argv.slice(-2);
  const store = openSqliteStore(path);
  for (let i = 0; ; i++) {
    await store.create(cell(\`w\${round}-\${i}\`, 1));
    const { metadata } = await store.update(cell(\`w\${round}-\${i}\`, 2));
    process.stdout.write(\`\${metadata.name} \${metadata.resourceVersion}\\n\`);
  }
`;

interface Writer {
  readonly process: ChildProcess;
  /** Name → resourceVersion of what was acknowledged. */
  readonly acknowledged: Map<string, string>;
}

/** Starts a writer and waits until it has written a few. */
async function startWriter(t: TestContext, path: string, round = 0, atLeast = 5): Promise<Writer> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", WRITER, path, String(round)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => kill(child));
  const acknowledged = new Map<string, string>();
  const enough = new Promise<void>((resolve, reject) => {
    child.once("exit", () => reject(new Error("the writer ended by itself")));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const [name, resourceVersion] = line.split(" ");
      if (name && resourceVersion) acknowledged.set(name, resourceVersion);
      if (acknowledged.size >= atLeast) resolve();
    });
  });
  await enough;
  return { process: child, acknowledged };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGKILL");
  await closed;
}

test("a process killed while it writes loses nothing that it acknowledged, time and again", async (t) => {
  const path = await temporaryFile(t);
  const acknowledged = new Map<string, string>();
  for (let round = 0; round < 4; round++) {
    const writer = await startWriter(t, path, round, 10 + 23 * round);
    await kill(writer.process);
    for (const [name, version] of writer.acknowledged) acknowledged.set(name, version);
    const store = openSqliteStore(path);
    const { items } = await store.list({ kind: "Cell" });
    const stored = new Map(items.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
    for (const [name, version] of acknowledged) assert.equal(stored.get(name), version, name);
    assert(
      stored.size <= acknowledged.size + round + 1,
      "at most one object of each round was not acknowledged",
    );
    await store.close();
  }
  assert(acknowledged.size >= 4 * 10);
});
