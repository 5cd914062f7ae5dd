/** Bad input at a whole control plane: each gets an error that names object, field and remedy; nothing else suffers. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { natto, startServer } from "../../src/cli/fixtures.ts";
import { until } from "../../src/store/fixtures.ts";
import { CELL_AND_POOL, gatewayYaml } from "./fixture.ts";

const PATH = "/apis/natto.dev/v1alpha1";
const GOOD = "natgateway.natto.dev/team-a/good";

async function controlPlane(t: TestContext): Promise<string> {
  const { url } = await startServer(t, "--controller");
  const applied = await natto(["apply", "-f", "-"], { server: url, stdin: CELL_AND_POOL });
  assert.equal(applied.code, 0, applied.stderr);
  return url;
}

function poolYaml(name: string, spec: string): string {
  return `apiVersion: natto.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: ${name}}\nspec: {${spec}}\n`;
}

interface BadObject {
  readonly what: string;
  readonly yaml: string;
  /** What the error must say: the object, the field with what was found, the remedy. */
  readonly says: readonly RegExp[];
}

const BAD_OBJECTS: readonly BadObject[] = [
  {
    what: "a pool that overlaps another",
    yaml: poolYaml("second", "cidrs: [203.0.113.8/29]"),
    says: [
      /AddressPool second/,
      /spec\.cidrs\[0\].*203\.0\.113\.8\/29 overlaps 203\.0\.113\.0\/28/,
      /public/,
    ],
  },
  {
    what: "a block with host bits",
    yaml: poolYaml("hostbits", "cidrs: [198.51.100.9/24]"),
    says: [/AddressPool hostbits/, /spec\.cidrs\[0\].*198\.51\.100\.9\/24/, /198\.51\.100\.0\/24/],
  },
  {
    what: "an unknown field",
    yaml: gatewayYaml("unknown", "10.1.0.0/24", 1, "  adresses: 3\n"),
    says: [/NatGateway team-a\/unknown/, /spec\.adresses/, /remove|did you mean|allowed/i],
  },
  {
    what: "slots of a size that cannot be",
    yaml: gatewayYaml("sizes", "10.2.0.0/24", 1, "  ports: {perSlot: 1000}\n"),
    says: [/NatGateway team-a\/sizes/, /spec\.ports\.perSlot/, /choose a divisor such as/],
  },
  {
    what: "a port that is out of range",
    yaml: "apiVersion: natto.dev/v1alpha1\nkind: Cell\nmetadata: {name: ports}\nspec: {vxlan: {port: 70000}}\n",
    says: [/Cell ports/, /spec\.vxlan\.port.*70000/, /65535/],
  },
  {
    what: "a gateway that needs more addresses than its pool has",
    yaml: gatewayYaml("greedy", "10.3.0.0/24", 17),
    says: [/NatGateway team-a\/greedy/, /spec\.addresses\.count.*17.*16/, /lower|add|pool/],
  },
];

for (const { what, yaml, says } of BAD_OBJECTS) {
  test(`${what} is refused by name, field and remedy, and the good object beside it is applied`, async (t) => {
    const server = await controlPlane(t);
    const stdin = `${yaml}\n---\n${gatewayYaml("good", "10.9.0.0/24")}`;
    const { code, stdout, stderr } = await natto(["apply", "-f", "-"], { server, stdin });
    assert.equal(code, 2, stderr);
    assert.equal(stdout, `${GOOD} created\n`);
    for (const words of says) assert.match(stderr, words);
    const { kind, name, namespace, plural } = identify(yaml);
    const place = namespace === undefined ? plural : `namespaces/${namespace}/${plural}`;
    assert.equal(
      (await fetch(`${server}${PATH}/${place}/${name}`)).status,
      404,
      `${kind} ${name} is not stored`,
    );
    await plansStill(server);
  });
}

function identify(yaml: string) {
  const kind = /kind: (\w+)/.exec(yaml)?.[1] ?? "";
  const [, name, , namespace] = /metadata: {name: (\w+)(, namespace: ([\w-]+))?}/.exec(yaml) ?? [];
  return { kind, name, namespace, plural: `${kind.toLowerCase()}s` };
}

/** The controller has planned the good gateway, as far as it can without nodes: it has an address. */
async function plansStill(server: string): Promise<void> {
  await until(
    async () => {
      const { stdout } = await natto(["get", GOOD, "-o", "json"], { server });
      return (JSON.parse(stdout) as { status?: { addresses: string[] } }).status?.addresses.length === 1;
    },
    "the good gateway has its address",
    30_000,
  );
}

test("an object of 1 MB is refused with its name, its size and the limit, by the command line and by the API", async (t) => {
  const server = await controlPlane(t);
  const big = {
    apiVersion: "natto.dev/v1alpha1",
    kind: "AddressPool",
    metadata: { name: "big", annotations: { text: "x".repeat(1_000_000) } },
    spec: { cidrs: ["198.51.100.0/24"] },
  };
  const body = JSON.stringify(big);
  const stdin = `${body}\n---\n${gatewayYaml("good", "10.9.0.0/24")}`;
  const { code, stdout, stderr } = await natto(["apply", "-f", "-"], { server, stdin });
  assert.equal(code, 2);
  assert.equal(stdout, `${GOOD} created\n`);
  assert.match(stderr, /AddressPool big.*1000\d{3}.*262144/s);
  const answer = await send(server, `${PATH}/addresspools`, { method: "POST", body });
  assert.equal(answer.status, 413);
  assert.match(answer.text, /"reason":"TooLarge"/);
  assert.match(answer.text, /AddressPool big has 1000\d{3} bytes; at most 262144 are allowed; split it/);
  await plansStill(server);
});

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function send(server: string, path: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(`${server}${path}`, {
    ...init,
    headers: { ...(init.body === undefined ? {} : { "content-type": "application/json" }), ...init.headers },
  });
  return { status: response.status, text: await response.text() };
}

/** Sends bytes as they are; returns what the server says until it closes, or has said a whole answer. */
async function sendRaw(server: string, bytes: Buffer): Promise<string> {
  const { hostname, port } = new URL(server);
  const socket = connect(Number(port), hostname);
  let said = "";
  socket.on("data", (chunk) => {
    said += chunk.toString();
  });
  socket.end(bytes);
  await new Promise<void>((resolve) => socket.on("close", () => resolve()).on("error", () => resolve()));
  return said;
}

test("garbage at the API is answered with an error that says what to send, and the server serves on", async (t) => {
  const server = await controlPlane(t);
  const pools = `${PATH}/addresspools`;
  const post = (body: string | Buffer<ArrayBuffer>, headers: Readonly<Record<string, string>> = {}) => ({
    method: "POST",
    body,
    headers,
  });
  const deep = `${"[".repeat(50_000)}${"]".repeat(50_000)}`;
  const deepField = `{"apiVersion":"natto.dev/v1alpha1","kind":"AddressPool","metadata":{"name":"deep"},"spec":${deep}}`;
  const cases: readonly (readonly [string, string, RequestInit, number, RegExp])[] = [
    ["random bytes", pools, post(randomBytes(1000)), 400, /not JSON/],
    ["no body", pools, post(""), 400, /body is empty|send one object/],
    [
      "another content type",
      pools,
      post("a: b", { "content-type": "text/yaml" }),
      400,
      /send application\/json/,
    ],
    ["a deep array", pools, post(deep), 400, /not an object|nested|deep/],
    [
      "a deep field",
      pools,
      post(deepField),
      422,
      /AddressPool deep has fields nested deeper than 32 levels; remove/,
    ],
    ["a number", pools, post("42"), 400, /not an object; send one object as JSON/],
    ["a prototype", pools, post('{"__proto__": {"a": 1}}'), 400, /JSON|proto/],
    ["a wrong method", pools, { method: "DELETE" }, 400, /a collection takes GET and POST/],
    ["an unknown kind", `${PATH}/gatways`, { method: "GET" }, 400, /no kind's plural; use/],
    ["an unknown path", "/admin", { method: "GET" }, 400, /no such path; objects are under/],
    ["an unknown parameter", `${pools}?limt=1`, { method: "GET" }, 400, /\?limt: unknown query parameter/],
  ];
  for (const [what, path, init, status, says] of cases) {
    const answer = await send(server, path, init);
    assert.equal(answer.status, status, `${what}: ${answer.text.slice(0, 300)}`);
    assert.match((JSON.parse(answer.text) as { message: string }).message, says, what);
  }
  const huge = `GET ${pools} HTTP/1.1\r\nHost: natto\r\nX-Huge: ${"x".repeat(200_000)}\r\n\r\n`;
  assert.match(await sendRaw(server, Buffer.from(huge)), /^HTTP\/1\.1 431 |^$/);
  assert.match(await sendRaw(server, randomBytes(2000)), /^HTTP\/1\.1 400 |^$/);
  assert.equal((await fetch(`${server}/readyz`)).status, 200);
  const good = await natto(["apply", "-f", "-"], { server, stdin: gatewayYaml("good", "10.9.0.0/24") });
  assert.deepEqual([good.code, good.stdout], [0, `${GOOD} created\n`]);
  await plansStill(server);
});
