/**
 * Runs test files with node's test runner: `run-tests.ts [--only TEXT] [--timeout SECONDS] [--once] FILE|FOLDER…` (all of them if none is
 * given; a file may take 600 seconds). Files run one after the other, since several of them build network namespaces on the same machine.
 * A file in which something failed runs once more at the end, unless told `--once`, and what then passes is named as unsteady: it
 * deserves a look, but a busy machine must not stop a change. Reports as it goes, and closes with the line `N passed, N failed`, alone.
 * Exits 1 when a test failed or none ran.
 */
import { globSync, statSync } from "node:fs";
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

interface FileResult {
  passed: number;
  /** Names of tests. */
  readonly failed: string[];
}

/** Runs one file after the other; resolves to what came of each that had a test. */
async function runFiles(paths: readonly string[]): Promise<Map<string, FileResult>> {
  const results = new Map<string, FileResult>();
  const resultOf = (file: string | undefined): FileResult => {
    const key = file ?? "?";
    const result = results.get(key) ?? { passed: 0, failed: [] };
    results.set(key, result);
    return result;
  };
  const stream = run({
    files: [...paths],
    concurrency: 1,
    timeout: Number(values.timeout) * 1_000,
    ...(values.only === undefined ? {} : { testNamePatterns: [values.only] }),
  });
  stream.on("test:pass", ({ details, skip, todo, file }) => {
    if (details.type !== "suite" && skip === undefined && todo === undefined) resultOf(file).passed++;
  });
  stream.on("test:fail", ({ details, file, name }) => {
    if (details.type !== "suite") resultOf(file).failed.push(name);
  });
  stream.compose(spec).pipe(process.stdout, { end: false });
  await new Promise((resolve) => stream.on("end", resolve));
  return results;
}

const results = await runFiles(files);
const troubled = [...results].filter(([, { failed }]) => failed.length > 0);
if (troubled.length > 0 && !values.once) {
  console.log(`\n${troubled.length} files have failed tests; they run once more.`);
  const again = await runFiles(troubled.map(([file]) => file));
  for (const [file, first] of troubled) {
    const second = again.get(file) ?? first;
    results.set(file, second);
    const unsteady = first.failed.filter((name) => !second.failed.includes(name));
    for (const name of unsteady) console.log(`unsteady, failed once: ${name} (${file})`);
  }
}
const passed = [...results.values()].reduce((sum, result) => sum + result.passed, 0);
const failed = [...results.values()].reduce((sum, result) => sum + result.failed.length, 0);
if (passed + failed === 0) console.error("no test ran");
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
