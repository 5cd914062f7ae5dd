/**
 * A real cluster of Consul on the loopback interface, for tests: servers, and the client agents of some machines, each a process that can be
 * killed, paused and started again.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { until } from "../../store/fixtures.ts";
import { freePorts, type ServerProcess, startServerProcess } from "../../store/testing/server-process.ts";
import type { TlsFiles } from "../../url-settings.ts";
import { CONSUL_TUNING } from "../consul-tuning.ts";

const run = promisify(execFile);

export interface ConsulAgent extends ServerProcess {
  readonly name: string;
  /** `host:port` of its HTTP API. */
  readonly endpoint: string;
  /** The address of this membership; `query` begins with a question mark. */
  url(query?: string): string;
  /** Kills it, deletes its data and starts it again. */
  wipe(): Promise<void>;
}

export interface ConsulCluster {
  readonly servers: readonly ConsulAgent[];
  readonly clients: readonly ConsulAgent[];
  /** Asks an agent's HTTP API; the answer's JSON, or its text if it is none. Rejects unless it is a success. */
  ask(agent: ConsulAgent, method: "GET" | "PUT", path: string, body?: unknown): Promise<unknown>;
  leader(): Promise<ConsulAgent>;
  /** Waits until there is a leader and all agents see each other alive. */
  untilHealthy(): Promise<void>;
  close(): Promise<void>;
}

export interface ConsulClusterOptions {
  /** Default three servers and one client. */
  readonly servers?: number;
  readonly clients?: number;
  /** Serve the HTTP API by TLS with these files, and demand a certificate of the same authority. */
  readonly tls?: Required<TlsFiles>;
  /** Turn ACLs on, with this token for everything; without a token nothing is allowed. */
  readonly masterToken?: string;
}

/** What makes the ports of an agent. */
const PORTS_EACH = 3;

/** Starts the agents and waits until they have a leader. Fails with a sentence when there is no Consul on this machine. */
export async function startConsulCluster(options: ConsulClusterOptions = {}): Promise<ConsulCluster> {
  const { servers: serverCount = 3, clients: clientCount = 1, tls, masterToken } = options;
  const program = await findConsul();
  const folder = await mkdtemp(join(tmpdir(), "natto-consul-"));
  const names = [
    ...Array.from({ length: serverCount }, (_, i) => `server${i}`),
    ...Array.from({ length: clientCount }, (_, i) => `client${i}`),
  ];
  const ports = await freePorts(PORTS_EACH * names.length);
  const portsOf = (i: number) =>
    ports.slice(PORTS_EACH * i, PORTS_EACH * (i + 1)) as [number, number, number];
  // Clients too, so that servers without data hear of them at once and not by and by.
  const joining = names.map((_, i) => `127.0.0.1:${portsOf(i)[0]}`);
  const config = join(folder, "config.json");
  await writeFile(config, JSON.stringify({ ...tlsConfig(tls), ...aclConfig(masterToken) }));
  const agents = names.map((name, i): ConsulAgent => {
    const [serf, server, http] = portsOf(i);
    const data = join(folder, name);
    const argv = [
      ...[program, "agent", "-node", name, "-data-dir", data, "-config-file", config],
      // One that is started anew without its data is the same machine to the others.
      ...["-node-id", `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`],
      ...["-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "warn"],
      ...["-serf-lan-port", String(serf), "-server-port", String(server), "-dns-port", "-1"],
      ...(tls ? ["-http-port", "-1", "-https-port", String(http)] : ["-http-port", String(http)]),
      ...["-hcl", `${CONSUL_TUNING} ports { serf_wan = -1 }`],
      ...["-retry-interval", "500ms"],
      ...joining.flatMap((address) => ["-retry-join", address]),
      ...(i < serverCount ? ["-server", "-bootstrap-expect", String(serverCount)] : []),
    ];
    const process = startServerProcess(argv, `${data}.log`);
    const endpoint = `${tls ? "localhost" : "127.0.0.1"}:${http}`;
    const wipe = async (): Promise<void> => {
      await process.kill();
      await rm(data, { recursive: true, force: true });
      process.restart();
    };
    return { ...process, name, endpoint, url: (query = "") => `consul://${endpoint}${query}`, wipe };
  });
  const cluster = clusterOf(agents.slice(0, serverCount), agents.slice(serverCount), folder, options);
  try {
    await cluster.untilHealthy();
  } catch (error) {
    const words = await Promise.all(agents.map((agent) => agent.lastWords()));
    await cluster.close();
    assert.fail(`Consul did not start: ${error}\n${words.join("\n")}`);
  }
  return cluster;
}

function clusterOf(
  servers: readonly ConsulAgent[],
  clients: readonly ConsulAgent[],
  folder: string,
  { tls, masterToken }: ConsulClusterOptions,
): ConsulCluster {
  const agents = [...servers, ...clients];
  const ask: ConsulCluster["ask"] = async (agent, method, path, body) => {
    const { stdout } = await run("curl", [
      ...["-sS", "--fail-with-body", "--max-time", "5", "-X", method],
      ...(masterToken ? ["-H", `X-Consul-Token: ${masterToken}`] : []),
      ...(tls ? ["--cacert", tls.ca, "--cert", tls.cert, "--key", tls.key].map(String) : []),
      ...(body === undefined ? [] : ["--data-binary", JSON.stringify(body)]),
      `${tls ? "https" : "http"}://${agent.endpoint}${path}`,
    ]);
    return isJson(stdout) ? JSON.parse(stdout) : stdout;
  };
  const asked = (agent: ConsulAgent, path: string) => ask(agent, "GET", path).catch(() => undefined);
  return {
    servers,
    clients,
    ask,
    leader: async () => {
      const told = await Promise.all(servers.map((server) => asked(server, "/v1/agent/self")));
      const found = told.findIndex((self) => JSON.stringify(self ?? "").includes('"leader":"true"'));
      return servers[found] ?? assert.fail("no leader");
    },
    untilHealthy: () =>
      until(
        async () => {
          await delay(100);
          const answers = await Promise.all(
            agents.map((agent) => asked(agent, "/v1/health/state/passing?filter=CheckID==serfHealth")),
          );
          return answers.every((answer) => Array.isArray(answer) && answer.length === agents.length);
        },
        "all agents of Consul see each other",
        60_000,
      ),
    close: async () => {
      await Promise.all(agents.map((agent) => agent.kill()));
      await rm(folder, { recursive: true });
    },
  };
}

function isJson(text: string): boolean {
  return /^\s*[[{"]|^(true|false|null)\s*$/.test(text);
}

function tlsConfig(tls: Required<TlsFiles> | undefined) {
  return tls ? { ca_file: tls.ca, cert_file: tls.cert, key_file: tls.key, verify_incoming_https: true } : {};
}

function aclConfig(masterToken: string | undefined) {
  return masterToken
    ? {
        primary_datacenter: "dc1",
        acl: { enabled: true, default_policy: "deny", tokens: { master: masterToken, agent: masterToken } },
      }
    : {};
}

/** The path of the program; fails with what `scripts/find-consul` says. */
async function findConsul(): Promise<string> {
  const script = join(import.meta.dirname, "../../../scripts/find-consul");
  const { stdout } = await run(script).catch((error: { readonly stderr?: string }) =>
    assert.fail(`these tests need Consul: ${error.stderr ?? error}`),
  );
  return stdout.trim();
}
