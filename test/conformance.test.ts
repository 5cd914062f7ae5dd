/** Whether docs/conformance.md keeps its word: every requirement and every program has its row, and the tests that it names exist. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "..");
const PAGE = readFileSync(join(ROOT, "docs/conformance.md"), "utf8");
/** Section → its rows, as lists of cells. */
const SECTIONS = new Map(
  PAGE.split("\n## ")
    .slice(1)
    .map((section) => {
      const [heading = "", ...lines] = section.split("\n");
      const rows = lines.filter((line) => line.startsWith("| ")).slice(1);
      return [heading, rows.map((row) => row.split("|").map((cell) => cell.trim()))] as const;
    }),
);

const upTo = (last: number): string[] => Array.from({ length: last }, (_, i) => String(i + 1));
const REQUIREMENTS: Readonly<Record<string, readonly string[]>> = {
  "RFC 4787: UDP": upTo(14),
  "RFC 5382: TCP": upTo(10),
  "RFC 5508: ICMP": upTo(11),
  "RFC 6888: carrier-grade NAT": upTo(15),
  "RFC 7857: updates": ["2.1", "2.2", ...upTo(13).slice(2)],
  "Real programs": [
    "DNS",
    "HTTP/1.1",
    "HTTP/2",
    "WebSocket",
    "TCP keep-alive",
    "traceroute",
    "tracepath",
    "iperf3",
    "FTP",
    "DTLS",
  ],
};

/** The titles of all tests, as they stand in the source; what is computed in them is `…`. */
function testTitles(): ReadonlySet<string> {
  const files = globSync(["src/**/*.test.ts", "test/**/*.test.ts"], { cwd: ROOT });
  const titles = files.flatMap((file) => {
    const source = readFileSync(join(ROOT, file), "utf8");
    return [...source.matchAll(/\btest\(\s*(["`])((?:\\.|(?!\1).)*)\1/gs)].map(([, , title = ""]) =>
      title.replaceAll(/\$\{[^}]*\}/g, "…").replaceAll(/\\(.)/g, "$1"),
    );
  });
  return new Set(titles);
}

test("every requirement of every RFC and every program has a row, in order", () => {
  const numbers = [...SECTIONS].map(([heading, rows]) => [heading, rows.map((cells) => cells[1])]);
  assert.deepEqual(Object.fromEntries(numbers), REQUIREMENTS);
});

test("every row says what Natto does and names tests, all of which exist", () => {
  const titles = testTitles();
  for (const [heading, rows] of SECTIONS) {
    for (const [, number, , does = "", shown = ""] of rows) {
      const where = `${heading}, ${number}`;
      assert.match(does, /\*\*(yes|option|part|no|n\/a)\*\*|^see /, where);
      const named = [...shown.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name);
      assert(named.length > 0 || shown === "–", where);
      for (const name of named) assert(titles.has(name), `${where}: there is no test "${name}"`);
    }
  }
});
