/** A real cluster of etcd on the loopback interface, for tests: each member a process that can be killed, paused and started again. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { EtcdTls } from "../etcd-settings.ts";
import { until } from "../fixtures.ts";
import { freePorts, type ServerProcess, startServerProcess } from "./server-process.ts";

const run = promisify(execFile);

export interface EtcdMember extends ServerProcess {
  /** `host:port` for clients. */
  readonly endpoint: string;
}

export interface EtcdCluster {
  readonly members: readonly EtcdMember[];
  /** The address of the store; `query` begins with a question mark. */
  url(prefix: string, query?: string): string;
  /** Runs etcdctl and returns what it prints. Rejects when it fails. */
  etcdctl(...args: readonly string[]): Promise<string>;
  leader(): Promise<EtcdMember>;
  /** Waits until all members take part. */
  untilHealthy(): Promise<void>;
  close(): Promise<void>;
}

export interface ClusterOptions {
  /** How many; default three. */
  readonly members?: number;
  /** More flags for each member. */
  readonly flags?: readonly string[];
  /** Serve TLS with the certificate for `localhost` in the folder, and demand one of the same authority from clients. */
  readonly tls?: Required<EtcdTls>;
}

/** Starts the members and waits until they have a leader. Fails with a sentence when there is no etcd on this machine. */
export async function startEtcdCluster(options: ClusterOptions = {}): Promise<EtcdCluster> {
  await assertInstalled();
  const { members: size = 3, flags = [], tls } = options;
  const folder = await mkdtemp(join(tmpdir(), "natto-etcd-"));
  const ports = await freePorts(2 * size);
  const host = tls ? "localhost" : "127.0.0.1";
  const scheme = tls ? "https" : "http";
  const peers = Array.from({ length: size }, (_, i) => `m${i}=http://127.0.0.1:${ports[2 * i]}`).join(",");
  const members = Array.from({ length: size }, (_, i) => {
    const [peer, client] = [`http://127.0.0.1:${ports[2 * i]}`, ports[2 * i + 1]];
    const urls = { listen: `${scheme}://127.0.0.1:${client}`, advertised: `${scheme}://${host}:${client}` };
    const server = startServerProcess(
      [
        ...["etcd", "--data-dir", join(folder, `m${i}`)],
        ...["--name", `m${i}`, "--initial-cluster", peers, "--initial-cluster-token", folder],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
        ...["--listen-client-urls", urls.listen, "--advertise-client-urls", urls.advertised],
        ...(tls ? ["--cert-file", tls.cert!, "--key-file", tls.key!, "--trusted-ca-file", tls.ca!] : []),
        ...(tls ? ["--client-cert-auth"] : []),
        ...flags,
      ],
      join(folder, `m${i}.log`),
    );
    return { ...server, endpoint: `${host}:${client}` };
  });
  const cluster = clusterOf(members, folder, tls);
  try {
    await cluster.untilHealthy();
  } catch (error) {
    const words = await Promise.all(members.map((member) => member.lastWords()));
    await cluster.close();
    assert.fail(`etcd did not start: ${error}\n${words.join("\n")}`);
  }
  return cluster;
}

function clusterOf(members: readonly EtcdMember[], folder: string, tls: EtcdTls | undefined): EtcdCluster {
  const endpoints = members.map(({ endpoint }) => endpoint).join(",");
  const etcdctl = async (...args: readonly string[]): Promise<string> => {
    const files = tls ? ["--cacert", tls.ca!, "--cert", tls.cert!, "--key", tls.key!] : [];
    const { stdout } = await run("etcdctl", ["--endpoints", endpoints, ...files, ...args], {
      env: { ...process.env, ETCDCTL_API: "3" },
    });
    return stdout;
  };
  return {
    members,
    url: (prefix, query = "") => `etcd://${endpoints}/${prefix}${query}`,
    etcdctl,
    leader: async () => {
      const rows = JSON.parse(await etcdctl("endpoint", "status", "-w", "json")) as readonly {
        readonly Endpoint: string;
        readonly Status: { readonly header: { readonly member_id: number }; readonly leader: number };
      }[];
      const row = rows.find(({ Status }) => Status.header.member_id === Status.leader);
      return members.find(({ endpoint }) => endpoint === row?.Endpoint) ?? assert.fail("no leader");
    },
    untilHealthy: () =>
      until(
        () =>
          etcdctl("endpoint", "health").then(
            () => true,
            () => false,
          ),
        "all members are healthy",
        20_000,
      ),
    close: async () => {
      await Promise.all(members.map((member) => member.kill()));
      await rm(folder, { recursive: true });
    },
  };
}

async function assertInstalled(): Promise<void> {
  for (const [program, argument] of [
    ["etcd", "--version"],
    ["etcdctl", "--help"],
    ["openssl", "version"],
  ] as const) {
    try {
      await run(program, [argument]);
    } catch (error) {
      assert.fail(
        `these tests need ${program} on the PATH: run make setup, or apt-get install etcd-server etcd-client openssl (${error})`,
      );
    }
  }
}

export interface Certificates {
  /** For members and clients alike. */
  readonly good: Required<EtcdTls>;
  /** An authority that has nothing to do with the others. */
  readonly otherCa: string;
}

/** Makes a certificate for `localhost`, and its authority, in a folder. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const path = (name: string): string => join(folder, name);
  const openssl = (...args: readonly string[]) => run("openssl", args);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const authority = async (name: string): Promise<string> => {
    const files = ["-keyout", path(`${name}.key`), "-out", path(`${name}.crt`)];
    await openssl("req", "-x509", ...newKey, ...files, "-subj", `/CN=${name}`, "-days", "2");
    return path(`${name}.crt`);
  };
  const [ca, otherCa] = [await authority("ca"), await authority("other-ca")];
  const [cert, key, request] = [path("member.crt"), path("member.key"), path("member.csr")];
  const names = ["-addext", "subjectAltName=DNS:localhost"];
  await openssl("req", ...newKey, "-keyout", key, "-out", request, "-subj", "/CN=member", ...names);
  const signer = ["-CA", ca, "-CAkey", path("ca.key"), "-CAcreateserial", "-copy_extensions", "copy"];
  await openssl("x509", "-req", "-in", request, "-out", cert, ...signer, "-days", "2");
  return { good: { ca, cert, key }, otherCa };
}
