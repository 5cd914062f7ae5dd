/**
 * Runs test files with node's test runner: `run-tests.ts [--only TEXT] [--timeout SECONDS] [--once] FILE|FOLDER…` (all of them if none is
 * given; a file may take 600 seconds). Files that only compute run side by side, one on each core; then those that run clusters, labs and
 * daemons, one after the other. A file in which something failed runs once more at the end, unless told `--once`, and what then passes is
 * named as unsteady: it deserves a look, but a busy machine must not stop a change. Reports as it goes, names the files that took longest,
 * and closes with the line `N passed, N failed`, alone. Exits 1 when a test failed or none ran.
 */
import { globSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { relative } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string" },
    timeout: { type: "string", default: "600" },
    once: { type: "boolean", default: false },
  },
});
const places = positionals.length > 0 ? positionals : ["src", "test"];
const files = places
  .flatMap((place) => (statSync(place).isDirectory() ? globSync(`${place}/**/*.test.ts`) : [place]))
  .sort();

/** What waits for other programs, and for real time: beside other work it would see the machine's delays instead of Natto's. */
const ALONE =
  /^(test\/e2e\/|src\/(lab|routing)\/|src\/store\/etcd|src\/membership\/consul|src\/controller\/failover)/;
const SLOWEST = 10;

interface FileResult {
  passed: number;
  /** Of its tests, in milliseconds. */
  tookMs: number;
  /** Names of tests. */
  readonly failed: string[];
}

/** Runs so many files at a time; adds what came of each that had a test. */
async function runFiles(
  paths: readonly string[],
  concurrency: number,
  results: Map<string, FileResult>,
): Promise<void> {
  if (paths.length === 0) return;
  const resultOf = (file: string | undefined): FileResult => {
    const key = file ?? "?";
    const result = results.get(key) ?? { passed: 0, tookMs: 0, failed: [] };
    results.set(key, result);
    return result;
  };
  const stream = run({
    files: [...paths],
    concurrency,
    timeout: Number(values.timeout) * 1_000,
    ...(values.only === undefined ? {} : { testNamePatterns: [values.only] }),
  });
  stream.on("test:pass", ({ details, skip, todo, file, nesting }) => {
    if (nesting === 0) resultOf(file).tookMs += details.duration_ms;
    if (details.type !== "suite" && skip === undefined && todo === undefined) resultOf(file).passed++;
  });
  stream.on("test:fail", ({ details, file, name }) => {
    if (details.type !== "suite") resultOf(file).failed.push(name);
  });
  stream.compose(spec).pipe(process.stdout, { end: false });
  await new Promise((resolve) => stream.on("end", resolve));
}

async function runAll(paths: readonly string[]): Promise<Map<string, FileResult>> {
  const results = new Map<string, FileResult>();
  const isAlone = (path: string) => ALONE.test(relative(".", path));
  await runFiles(
    paths.filter((path) => !isAlone(path)),
    availableParallelism(),
    results,
  );
  await runFiles(paths.filter(isAlone), 1, results);
  return results;
}

const results = await runAll(files);
const troubled = [...results].filter(([, { failed }]) => failed.length > 0);
if (troubled.length > 0 && !values.once) {
  console.log(`\n${troubled.length} files have failed tests; they run once more.`);
  const again = await runAll(troubled.map(([file]) => file));
  for (const [file, first] of troubled) {
    const second = again.get(file) ?? first;
    results.set(file, second);
    const unsteady = first.failed.filter((name) => !second.failed.includes(name));
    for (const name of unsteady) console.log(`unsteady, failed once: ${name} (${file})`);
  }
}
const slowest = [...results].sort(([, a], [, b]) => b.tookMs - a.tookMs).slice(0, SLOWEST);
if (files.length > SLOWEST) {
  console.log("\nThe files that took longest:");
  for (const [file, { tookMs }] of slowest)
    console.log(`${(tookMs / 1000).toFixed(0).padStart(5)} s  ${relative(".", file)}`);
}
const passed = [...results.values()].reduce((sum, result) => sum + result.passed, 0);
const failed = [...results.values()].reduce((sum, result) => sum + result.failed.length, 0);
if (passed + failed === 0) console.error("no test ran");
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
