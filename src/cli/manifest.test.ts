import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { describeError, type ErrorCode, NattoError } from "../errors.ts";
import { crossCheck } from "./cross-check.ts";
import { checkManifest, parseManifests } from "./manifest.ts";
import { checkManifests } from "./manifest-set.ts";

const POOL = `apiVersion: natto.dev/v1alpha1
kind: AddressPool
metadata:
  name: public
  labels:
    natto.dev/owner: net
spec:
  cidrs:
    - 203.0.113.0/28
`;

function gateway(name: string, source: string, more = ""): string {
  return `apiVersion: natto.dev/v1alpha1
kind: NatGateway
metadata: {name: ${name}}
spec:
  cell: main
  sources: [${source}]
  addresses: {pool: public}
${more}`;
}

function parse(...texts: readonly string[]) {
  return parseManifests({ source: "test.yaml", text: texts.join("---\n") });
}

function thrownBy(run: () => unknown, code: ErrorCode): string {
  try {
    run();
  } catch (thrown) {
    assert(thrown instanceof NattoError);
    assert.equal(thrown.code, code);
    return describeError(thrown);
  }
  return assert.fail("nothing was thrown");
}

function faultsOf(text: string, namespace?: string): string[] {
  return checkManifests(parse(text), namespace).faults.map(describeError);
}

test("each document of a text becomes a manifest that knows where it stands", () => {
  const manifests = parse("# only a comment\n", POOL, gateway("web", "10.0.0.0/24"));
  assert.deepEqual(
    manifests.map(({ document, line }) => ({ document, line })),
    [
      { document: 1, line: 3 },
      { document: 2, line: 13 },
    ],
  );
});

test("a List is taken apart, in JSON too", () => {
  const items = [{ kind: "Cell", metadata: { name: "a" } }, { kind: "Cell" }];
  const manifests = parse(JSON.stringify({ kind: "List", items }, null, 2));
  assert.deepEqual(
    manifests.map(({ input }) => input),
    items,
  );
  assert.deepEqual(
    manifests.map(({ line }) => line),
    [4, 10],
  );
});

test("a text that is not YAML is refused with file, line and column", () => {
  const message = thrownBy(() => parse("kind: [Cell\nmetadata: }"), "BadRequest");
  assert.match(message, /^test\.yaml:2:\d+: not valid YAML: /);
});

test("a key that stands twice in a map is refused", () => {
  assert.match(
    thrownBy(() => parse("kind: Cell\nkind: Cell"), "BadRequest"),
    /^test\.yaml:2:1: .*unique/,
  );
});

test("aliases that multiply without end are refused", () => {
  const levels = Array.from({ length: 9 }, (_, i) => {
    const item = i === 0 ? "x" : `*a${i - 1}`;
    return `a${i}: &a${i} [${Array(9).fill(item).join(", ")}]`;
  });
  assert.match(
    thrownBy(() => parse(levels.join("\n")), "BadRequest"),
    /alias/i,
  );
});

test("any text at all is either read or refused with its file and line", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.constantFrom("- a\n b", "%YAML 9\n---\na", "!x a", "? a\n: b", "&a *a")),
      (text) => {
        try {
          for (const manifest of parseManifests({ source: "f", text })) assert(manifest.line >= 1);
        } catch (thrown) {
          assert(thrown instanceof NattoError, String(thrown));
          assert.match(thrown.message, /^f:\d+:\d+: not valid YAML/);
        }
      },
    ),
  );
});

test("an error names file, document, object, field, line and remedy", () => {
  const [, manifest] = parse(POOL, gateway("web", "10.0.0.1/24"));
  assert.equal(
    thrownBy(() => checkManifest(manifest!), "Invalid"),
    "test.yaml:11: document 2: NatGateway default/web is invalid\n" +
      '  spec.sources[0] (line 16): "10.0.0.1/24" has host bits set; did you mean 10.0.0.0/24?',
  );
});

test("a field that is missing is shown at the line of the map that should hold it", () => {
  const [manifest] = parse(
    "apiVersion: natto.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: p}\nspec:\n  {}\n",
  );
  assert.match(
    thrownBy(() => checkManifest(manifest!), "Invalid"),
    /spec\.cidrs \(line 4\): is required/,
  );
});

test("a label whose name has dots is found", () => {
  const [manifest] = parse(POOL);
  assert.equal(manifest?.lineOf("metadata.labels.natto.dev/owner"), 6);
});

test("kinds that Natto writes itself, and labs, are refused", () => {
  const placement = `apiVersion: natto.dev/v1alpha1
kind: Placement
metadata: {name: web}
spec: {cell: main, pool: public, portsPerSlot: 1024, nodes: [], addresses: []}
`;
  assert.match(faultsOf(placement)[0] ?? "", /^test\.yaml:1: document 1: Placement default\/web .*remove it/);
  assert.match(faultsOf("kind: Lab")[0] ?? "", /natto lab up test\.yaml/);
});

test("an object that stands in the set twice is refused with both places, and neither is taken", () => {
  const { valid, faults } = checkManifests(parse(POOL, gateway("web", "10.0.0.0/24"), POOL), undefined);
  assert.deepEqual(
    valid.map(({ object }) => object.kind),
    ["NatGateway"],
  );
  assert.match(
    describeError(faults[0]!),
    /^test\.yaml:19: document 3: AddressPool public .*test\.yaml:1: document 1/,
  );
});

test("-n gives a namespace to objects without one, and refuses those of another", () => {
  const { valid } = checkManifests(parse(POOL, gateway("web", "10.0.0.0/24")), "team-a");
  assert.deepEqual(
    valid.map(({ object }) => object.metadata.namespace),
    [undefined, "team-a"],
  );
  const other = gateway("web", "10.0.0.0/24").replace("{name: web}", "{name: web, namespace: team-b}");
  assert.match(faultsOf(other, "team-a")[0] ?? "", /metadata\.namespace \(line 3\).*"team-b".*leave out -n/);
});

test("objects that contradict each other are found without a server", () => {
  const set = parse(
    POOL,
    gateway("a", "10.0.0.0/16"),
    gateway("b", "10.0.5.0/24"),
    gateway("c", "10.1.0.0/16"),
  );
  const { valid, faults } = crossCheck(checkManifests(set, undefined).valid);
  assert.deepEqual(
    valid.map(({ object }) => object.metadata.name),
    ["public", "c"],
  );
  assert.match(
    describeError(faults[1]!),
    /spec\.sources\[0\] \(line 24\): 10\.0\.5\.0\/24 overlaps 10\.0\.0\.0\/16/,
  );
});
