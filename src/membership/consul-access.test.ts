/** Who may use Consul, and how it says no: ACL tokens and TLS. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { NattoError } from "../errors.ts";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { makeCertificates } from "../store/testing/etcd-cluster.ts";
import { openConsulMembership } from "./consul-membership.ts";
import { type NodeFacts, startConsulRegistration } from "./consul-registration.ts";
import { consulSettings } from "./consul-settings.ts";
import type { Membership } from "./membership.ts";
import { type ConsulClusterOptions, startConsulCluster } from "./testing/consul-cluster.ts";

async function startOne(t: TestContext, options: ConsulClusterOptions) {
  const cluster = await startConsulCluster({ servers: 1, clients: 0, ...options });
  t.after(() => cluster.close());
  return { cluster, server: cluster.servers[0]! };
}

function open(t: TestContext, url: string): Membership {
  const membership = openConsulMembership(consulSettings(url, {}), openMemoryStore(), { tickMs: 10 });
  t.after(() => membership.close());
  return membership;
}

const FACTS: NodeFacts = {
  node: "n1",
  cell: "c1",
  address: "192.0.2.1",
  version: "test",
  draining: false,
  ttlSeconds: 30,
  checks: [{ name: "dataplane", state: "passing", output: "programmed" }],
};

/** Registers node n1; returns what the agent has been warned of. */
function register(t: TestContext, url: string): readonly string[] {
  const warnings: string[] = [];
  const logger = { info: () => {}, warn: (message: string) => void warnings.push(message) };
  const registration = startConsulRegistration({
    settings: consulSettings(url, {}),
    facts: () => FACTS,
    logger,
  });
  t.after(() => registration.stop(5_000));
  return warnings;
}

function temporaryFolder(t: TestContext): Promise<string> {
  return mkdtemp(join(tmpdir(), "natto-consul-access-")).then((folder) => {
    t.after(() => rm(folder, { recursive: true }));
    return folder;
  });
}

/** The policies of docs/membership.md. */
const AGENT_POLICY = 'service "natto" { policy = "write" }';
const CONTROLLER_POLICY = 'service "natto" { policy = "read" } node_prefix "" { policy = "read" }';

test("with ACLs on, an agent and a controller get by with the documented policies and no more, and every other token is told", async (t) => {
  const folder = await temporaryFolder(t);
  const master = "0a3bd87c-6f9e-4a67-9d36-3a5f1b0e7c11";
  const { cluster, server } = await startOne(t, { masterToken: master });
  const tokenFile = async (name: string, rules: string): Promise<string> => {
    await cluster.ask(server, "PUT", "/v1/acl/policy", { Name: name, Rules: rules });
    const token = (await cluster.ask(server, "PUT", "/v1/acl/token", { Policies: [{ Name: name }] })) as {
      readonly SecretID: string;
    };
    await writeFile(join(folder, name), `${token.SecretID}\n`);
    return join(folder, name);
  };
  const agent = await tokenFile("agent", AGENT_POLICY);
  const controller = await tokenFile("controller", CONTROLLER_POLICY);

  const nobody = register(t, server.url());
  await until(() => nobody.length > 0, "the agent without a token is told");
  assert.match(nobody[0]!, /Consul at \S+ refuses: Permission denied.*; give a token.*tokenFile=FILE/);

  const followed = open(t, server.url(`?tokenFile=${controller}`));
  await until(() => followed.ready(), "the controller follows");
  const changing = join(folder, "changing");
  await writeFile(changing, "e1b5f7a2-0000-4000-8000-000000000000");
  const warnings = register(t, server.url(`?tokenFile=${changing}`));
  await until(() => warnings.length > 0, "the agent with a token that does not exist is told");
  assert.match(warnings[0]!, /ACL not found/);
  await writeFile(changing, await readFile(agent, "utf8"));
  await until(() => followed.current().get("n1") === "alive", "the new token is taken up");

  const blind = open(t, server.url(`?tokenFile=${agent}`));
  await until(() => blind.ready(), "Consul hides what may not be read");
  assert.equal(blind.current().size, 0);
  await writeFile(join(folder, "bad"), "e1b5f7a2-0000-4000-8000-000000000001");
  const refused = open(t, server.url(`?tokenFile=${join(folder, "bad")}`));
  await until(() => refused.trouble() !== undefined, "the controller with a bad token is told");
  assert.match(refused.trouble() ?? "", /ACL not found; give a token that may do this/);
  assert.equal(refused.ready(), false);
});

test("with mutual TLS the right certificates get in, and every other attempt is told what is wrong", async (t) => {
  const folder = await temporaryFolder(t);
  const { good, otherCa } = await makeCertificates(folder);
  const { server } = await startOne(t, { tls: good });
  const own = `cert=${good.cert}&key=${good.key}`;
  const membership = open(t, server.url(`?ca=${good.ca}&${own}`));
  register(t, server.url(`?ca=${good.ca}&${own}`));
  await until(() => membership.current().get("n1") === "alive", "n1 is alive");

  for (const [query, words] of [
    [`?ca=${otherCa}&${own}`, /UNABLE_TO_VERIFY.*; check that ca names the authority/],
    [`?${own}`, /UNABLE_TO_VERIFY.*; check that ca names the authority/],
    [`?ca=${good.ca}`, /certificate.*; .*give cert and key|whether it wants TLS/],
    ["", /whether it wants TLS \(ca, cert, key\)|port of its HTTP API/],
  ] as const) {
    const refused = open(t, server.url(query));
    await until(() => refused.trouble() !== undefined, `${query} is told`);
    assert.match(refused.trouble() ?? "", words, query);
    assert.equal(refused.ready(), false);
  }
  assert.throws(
    () => openConsulMembership(consulSettings("consul://h?ca=/nowhere.pem", {}), openMemoryStore()),
    (error) => error instanceof NattoError && error.code === "Environment" && /nowhere/.test(error.message),
  );
});
