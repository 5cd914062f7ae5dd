import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parse } from "yaml";
import { validateObject } from "../model/validate.ts";
import { until } from "../store/fixtures.ts";
import { openStore } from "../store/open-store.ts";
import { COMMANDS } from "./commands.ts";
import { EXAMPLE, exitOf, lineWith, natto, readyNode, startNatto, startServer } from "./fixtures.ts";

const GATEWAY = "natgateway.natto.dev/team-a/web";

async function folder(t: TestContext, files: Readonly<Record<string, string>>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "natto-cli-"));
  t.after(() => rm(path, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}

function pool(name: string, cidr: string, more = ""): string {
  return `apiVersion: natto.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: ${name}}\nspec: {cidrs: [${cidr}]${more}}\n`;
}

test("help names every command, and each command's help has its usage and examples", async () => {
  const help = await natto(["--help"]);
  assert.equal(help.code, 0);
  for (const { name, summary } of COMMANDS) {
    assert.match(help.stdout.replace(/\s+/g, " "), new RegExp(` ${name} .*${summary.slice(0, 30)}`));
  }
  for (const args of [
    ["get", "--help"],
    ["help", "get"],
  ]) {
    const { code, stdout } = await natto(args);
    assert.equal(code, 0);
    assert.match(stdout, /^Usage: natto get .*<kind>[\s\S]*Examples:/);
  }
});

test("a misspelt command, kind or option is answered with what was probably meant, and exit code 2", async () => {
  for (const [args, hint] of [
    [["aply"], /^natto: unknown command 'aply'\n\(Did you mean apply\?\)/],
    [["get", "gatway"], /^natto: there is no kind "gatway"; did you mean gateway\?/],
    [["get", "gw", "--wacth"], /^natto: unknown option '--wacth'\n\(Did you mean --watch\?\)/],
    [["get", "gw", "-o", "xml"], /^natto: option .*Use one of table, wide, json, yaml, name/],
    [["apply"], /^natto: natto apply needs -f/],
    [["server"], /^natto: required option '--store <url>'/],
  ] as const) {
    const { code, stdout, stderr } = await natto(args, { server: "memory:" });
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, hint);
  }
});

test("a server that cannot be reached has its own exit code, and its address is named", async () => {
  const { code, stdout, stderr } = await natto(["get", "gw", "--server", "http://127.0.0.1:1"]);
  assert.deepEqual([code, stdout], [7, ""]);
  assert.match(stderr, /^natto: .*http:\/\/127\.0\.0\.1:1/);
});

test("objects are created, unchanged, shown, described and deleted through a real server", async (t) => {
  const { url: server } = await startServer(t);
  const names = ["cell.natto.dev/main", "addresspool.natto.dev/public", GATEWAY];
  const lines = (outcome: string) => names.map((name) => `${name} ${outcome}\n`).join("");

  const created = await natto(["apply", "-f", EXAMPLE], { server });
  assert.deepEqual(created, { code: 0, stdout: lines("created"), stderr: "" });
  assert.equal((await natto(["apply", "-f", EXAMPLE], { server })).stdout, lines("unchanged"));

  const all = await natto(["get", "all", "-A", "-o", "yaml"], { server });
  const again = await natto(["apply", "-f", "-"], { server, stdin: all.stdout });
  assert.deepEqual(again, { code: 0, stdout: lines("unchanged"), stderr: "" });

  const table = await natto(["get", "gw", "-n", "team-a"], { server });
  assert.match(table.stdout, /^NAME +CELL +READY .*\nweb +main +Unknown .*\n$/);
  const json = await natto(["get", GATEWAY, "-o", "json"], { server });
  assert.equal(JSON.parse(json.stdout).spec.addresses.pool, "public");
  const described = await natto(["describe", "gateway", "team-a/web", "-o", "json"], { server });
  assert.deepEqual(JSON.parse(described.stdout).sources, ["10.0.0.0/24"]);
  const empty = await natto(["get", "gw"], { server });
  assert.deepEqual([empty.code, empty.stdout], [0, ""]);
  assert.match(empty.stderr, /^no natgateways in namespace default; -A/);

  const deleted = await natto(["delete", "-f", EXAMPLE], { server });
  assert.deepEqual(deleted.stdout.split("\n").slice(0, 3), names.map((name) => `${name} deleted`).reverse());
  const gone = await natto(["delete", "-f", EXAMPLE], { server });
  assert.equal(gone.code, 4);
  assert.match(gone.stderr, /team-a\/web does not exist[\s\S]*3 of 3 objects could not be deleted/);
  assert.equal((await natto(["delete", "-f", EXAMPLE, "--ignore-not-found"], { server })).code, 0);
});

test("one bad object does not keep the others from being applied, and the exit code tells", async (t) => {
  const { url: server } = await startServer(t);
  const path = await folder(t, {
    "a.yaml": `${pool("one", "203.0.113.0/28")}---\n${pool("two", "203.0.113.0/24")}`,
    "b.yml": pool("three", "198.51.100.1/24"),
    "c.json": JSON.stringify(parse(pool("four", "198.51.100.0/24"))),
    "notes.txt": "not a manifest",
  });
  const { code, stdout, stderr } = await natto(["apply", "-f", path], { server });
  assert.equal(code, 2);
  assert.equal(stdout, "addresspool.natto.dev/one created\naddresspool.natto.dev/four created\n");
  assert.match(
    stderr,
    /b\.yml:1: document 1: AddressPool three is invalid\n {2}spec\.cidrs\[0\] \(line 4\): .*198\.51\.100\.0\/24\?/,
  );
  assert.match(
    stderr,
    /a\.yaml:6: document 2: .*\n {2}spec\.cidrs\[0\] \(line 9\): 203\.0\.113\.0\/24 overlaps/,
  );
  assert.match(stderr, /natto: 2 of 4 objects could not be applied\n$/);
});

test("what cannot be read is told completely, and nothing is applied", async (t) => {
  const path = await folder(t, { "good.yaml": pool("one", "203.0.113.0/28"), "bad.yaml": "a: [b\n" });
  const { code, stdout, stderr } = await natto(["apply", "-f", path, "-f", join(path, "none")], {
    server: "memory:",
  });
  assert.deepEqual([code, stdout], [2, ""]);
  assert.match(stderr, /bad\.yaml:2:1: not valid YAML/);
  assert.match(stderr, /none: no such file or folder/);
});

test("a dry run needs no server and finds contradictions between the files", async (t) => {
  const path = await folder(t, {
    "a.yaml": pool("one", "203.0.113.0/28"),
    "b.yaml": pool("two", "203.0.113.8/29"),
  });
  const good = await natto(["apply", "--dry-run", "-f", EXAMPLE], { server: "http://127.0.0.1:1" });
  assert.equal(good.code, 0);
  assert.match(good.stdout, /^natgateway\.natto\.dev\/team-a\/web valid \(dry run\)$/m);
  const bad = await natto(["apply", "--dry-run", "-f", path], { server: "http://127.0.0.1:1" });
  assert.deepEqual([bad.code, bad.stdout], [2, ""]);
  assert.match(bad.stderr, /overlaps 203\.0\.113\.0\/28 of AddressPool one/);
});

test("a watch shows what there is and then each change, until it is told to stop", async (t) => {
  const { url: server } = await startServer(t);
  await natto(["apply", "-f", EXAMPLE], { server });
  const watch = startNatto(t, ["get", "pools", "--watch", "-o", "json"], server);
  const events = watch.stdout![Symbol.asyncIterator]();
  const next = async () => JSON.parse(String((await events.next()).value));
  assert.equal((await next()).type, "ADDED");
  await natto(["apply", "-f", "-"], { server, stdin: pool("public", "203.0.113.0/27") });
  const changed = await next();
  assert.deepEqual([changed.type, changed.object.spec.cidrs], ["MODIFIED", ["203.0.113.0/27"]]);
  await natto(["delete", "pool", "public"], { server });
  assert.equal((await next()).type, "DELETED");
  watch.kill("SIGINT");
  assert.equal(await exitOf(watch), 0);
});

test("a reader that stops reading ends the program without an error", async (t) => {
  const { url: server } = await startServer(t);
  await natto(["apply", "-f", EXAMPLE], { server });
  const watch = startNatto(t, ["get", "pools", "--watch"], server);
  await once(watch.stdout!, "data");
  watch.stdout!.destroy();
  await natto(["apply", "-f", "-"], { server, stdin: pool("public", "203.0.113.0/27") });
  assert.equal(await exitOf(watch), 0);
});

test("a store can be used without a server, and is as it was left", async (t) => {
  const server = `file:${join(await folder(t, {}), "natto.db")}`;
  await natto(["apply", "-f", EXAMPLE, "--server", server]);
  const { stdout } = await natto(["--server", server, "get", "all", "-A", "-o", "name"]);
  assert.equal(stdout, `cell.natto.dev/main\naddresspool.natto.dev/public\n${GATEWAY}\n`);
});

test("who holds an address and port, and who owns which ports, follows from what is planned", async (t) => {
  const server = `file:${join(await folder(t, {}), "natto.db")}`;
  await natto(["apply", "-f", EXAMPLE], { server });
  const store = await openStore(server);
  const spec = {
    cell: "main",
    pool: "public",
    portsPerSlot: 32_256,
    nodes: ["a", "b"],
    addresses: [{ address: "203.0.113.5", owners: [0, 1], backups: [1, 0] }],
  };
  const metadata = { namespace: "team-a", name: "web" };
  const placement = { apiVersion: "natto.dev/v1alpha1", kind: "Placement", metadata, spec };
  await store.create(validateObject(placement));
  await store.close();

  const port = await natto(["whois", "203.0.113.5:40000"], { server });
  assert.match(port.stdout, /^Gateway: +team-a\/web$[\s\S]*^Owner: +b$\n^Next in line: +a$/m);
  const endpoint = JSON.parse((await natto(["whois", "10.0.0.5", "-o", "json"], { server })).stdout);
  assert.equal(endpoint.publicAddress, "203.0.113.5");
  const described = await natto(["describe", "gw", "web", "-n", "team-a"], { server });
  assert.match(described.stdout, /^ {2}203\.0\.113\.5 +a +1 +2 +1024-33279$/m);
  const nobody = await natto(["whois", "203.0.113.6:40000"], { server });
  assert.deepEqual([nobody.code, nobody.stdout], [4, ""]);

  const byHand = await natto(["delete", "placement", "team-a/web"], { server });
  assert.equal(byHand.code, 2);
  assert.match(byHand.stderr, /a kind that Natto writes itself/);
});

test("a server with a controller is a whole control plane: what is applied is planned", async (t) => {
  const { url: server } = await startServer(t, "--controller");
  await natto(["apply", "-f", EXAMPLE], { server });
  const store = await openStore(server);
  t.after(() => store.close());
  await readyNode(t, store, "a");
  const table = await natto(["get", "gw", "-A"], { server });
  assert.match(table.stdout, /^team-a +web +main +True +203\.0\.113\.0 +10\.0\.0\.0\/24 +1 /m);
  const endpoint = await natto(["whois", "10.0.0.5"], { server });
  assert.match(endpoint.stdout, /^Owner: +a$/m);
  const described = JSON.parse((await natto(["describe", "node", "a", "-o", "json"], { server })).stdout);
  assert.deepEqual([described.slots[0].slots, described.slots[0].ports], [63, ["1024-65535"]]);
  const config = await store.get({ kind: "NodeConfig", name: "a" });
  assert.equal(described.configuration.current, config?.metadata.generation);
});

test("a controller works apart from the server, and stops cleanly", async (t) => {
  const { url: server } = await startServer(t);
  const controller = startNatto(t, ["controller", "--store", server]);
  await lineWith(controller.stderr!, '"msg":"ready"');
  await natto(["apply", "-f", EXAMPLE], { server });
  const store = await openStore(server);
  t.after(() => store.close());
  await until(
    async () => (await store.get({ kind: "AddressPool", name: "public" }))?.status?.total === 16,
    "the pool is planned",
  );
  controller.kill("SIGTERM");
  assert.equal(await exitOf(controller), 0);
});

test("a pool goes as soon as the gateway deleted before has given its addresses back", async (t) => {
  const { url: server } = await startServer(t);
  await natto(["apply", "-f", EXAMPLE], { server });
  const store = await openStore(server);
  t.after(() => store.close());
  const addresses = [{ address: "203.0.113.5", owners: [-1], backups: [-1] }];
  const spec = { cell: "main", pool: "public", portsPerSlot: 64_512, nodes: [], addresses };
  const metadata = { namespace: "team-a", name: "web" };
  await store.create(validateObject({ apiVersion: "natto.dev/v1alpha1", kind: "Placement", metadata, spec }));

  const impatient = await natto(["delete", "pool", "public"], { server });
  assert.equal(impatient.code, 2);
  assert.match(impatient.stderr, /in use by NatGateway team-a\/web/);
  const deletion = startNatto(t, ["delete", "-f", EXAMPLE], server);
  await lineWith(deletion.stdout!, `${GATEWAY} deleted`);
  await store.delete({ kind: "Placement", ...metadata });
  assert.equal(await exitOf(deletion), 0);
  assert.equal(await store.get({ kind: "AddressPool", name: "public" }), undefined);
});

test("labels select what is listed, and a server dry run writes nothing", async (t) => {
  const { url: server } = await startServer(t);
  const labelled = pool("one", "203.0.113.0/28").replace("{name: one}", "{name: one, labels: {tier: test}}");
  const stdin = `${labelled}---\n${pool("two", "198.51.100.0/28")}`;
  const tried = await natto(["apply", "-f", "-", "--server-dry-run"], { server, stdin });
  assert.match(tried.stdout, /^addresspool\.natto\.dev\/one created \(server dry run\)\n/);
  assert.equal((await natto(["get", "pools"], { server })).stdout, "");
  await natto(["apply", "-f", "-"], { server, stdin });
  const selected = await natto(["get", "pools", "-l", "tier=test", "-o", "name"], { server });
  assert.equal(selected.stdout, "addresspool.natto.dev/one\n");
});

test("a server stops cleanly when it is told to, even with a watch open", async (t) => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const { child, url } = await startServer(t);
    const watch = startNatto(t, ["get", "cells", "--watch"], url);
    await natto(["apply", "-f", EXAMPLE], { server: url });
    await once(watch.stdout!, "data");
    child.kill(signal);
    assert.equal(await exitOf(child), 0);
    await lineWith(watch.stderr!, "trying again");
  }
});

test("a rollout is paused, undone and resumed by what is declared on its cell", async (t) => {
  const server = `file:${join(await folder(t, {}), "natto.db")}`;
  await natto(["apply", "-f", EXAMPLE], { server });
  assert.deepEqual((await natto(["rollout", "status"], { server })).code, 4);
  const store = await openStore(server);
  const policy = { digest: "a", gateways: [] };
  const event = { at: "2026-11-24T00:00:00Z", rollout: 7, reason: "Began", message: "wave 1 reaches a" };
  const spec = {
    ...{ cell: "main", number: 7, good: policy, rejected: [], events: [event] },
    stage: { phase: "rolling", target: policy, wave: 1, released: {} },
  };
  const metadata = { name: "main" };
  await store.create(validateObject({ apiVersion: "natto.dev/v1alpha1", kind: "Rollout", metadata, spec }));
  await store.close();

  const status = await natto(["rollout", "status", "main"], { server });
  assert.match(
    status.stdout,
    /^Phase: +rolling$[\s\S]*^ {2}2026-11-24T00:00:00Z +7 +Began +wave 1 reaches a$/m,
  );
  const declared = async () => {
    const { stdout } = await natto(["get", "cell", "main", "-o", "json"], { server });
    const { paused, undo, retry } = JSON.parse(stdout).spec.rollout;
    return [paused, undo, retry];
  };
  assert.equal((await natto(["rollout", "pause"], { server })).code, 0);
  assert.deepEqual(await declared(), [true, undefined, undefined]);
  assert.match((await natto(["--server", server, "rollout", "undo", "main"])).stdout, /rollout 7/);
  assert.deepEqual(await declared(), [true, 7, undefined]);
  assert.equal((await natto(["rollout", "resume", "main"], { server })).code, 0);
  assert.deepEqual(await declared(), [false, undefined, undefined]);
  assert.equal((await natto(["rollout", "pause", "none"], { server })).code, 4);
});
