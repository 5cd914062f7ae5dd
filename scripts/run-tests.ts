/**
 * Runs test files with node's test runner: `run-tests.ts [--only TEXT] FILE|FOLDER…` (all of them if none is given). Files run one after
 * the other, since several of them build network namespaces on the same machine. Reports as they go, and closes with the line
 * `N passed, N failed`, alone. Exits 1 when a test failed or none ran.
 */
import { globSync, statSync } from "node:fs";
import { run } from "node:test";
import { spec } from "node:test/reporters";

const args = process.argv.slice(2);
const only = args[0] === "--only" ? args.splice(0, 2)[1] : undefined;
const places = args.length > 0 ? args : ["src", "test"];
const files = places
  .flatMap((place) => (statSync(place).isDirectory() ? globSync(`${place}/**/*.test.ts`) : [place]))
  .sort();

let passed = 0;
let failed = 0;
const stream = run({
  files,
  concurrency: 1,
  timeout: 300_000,
  ...(only === undefined ? {} : { testNamePatterns: [only] }),
});
stream.on("test:pass", (event) => {
  if (event.details.type !== "suite" && event.skip === undefined && event.todo === undefined) passed++;
});
stream.on("test:fail", (event) => {
  if (event.details.type !== "suite") failed++;
});
stream.compose(spec).pipe(process.stdout);
stream.on("end", () => {
  setImmediate(() => {
    if (passed + failed === 0) console.error("no test ran");
    console.log(`${passed} passed, ${failed} failed`);
    process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
  });
});
