/**
 * What programs expect of a NAT: names by UDP and TCP, many requests on one connection, uploads past a narrow link outside, the hops of a
 * path, a second connection to a port that was agreed upon in the first, secure datagrams, connections that are idle for long.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { waitReady } from "../../src/lab/lab-process.ts";
import {
  counterGrows,
  counters,
  gatewayYaml,
  leavesNothing,
  nodeFolders,
  PATIENCE_MS,
  run,
  SERVER,
  until,
  useCloud,
} from "./fixture.ts";
import {
  HTTP2,
  HTTP2_CLIENT,
  IDLE,
  NAME_SERVER,
  RESOLVE,
  SERVE,
  UPLOAD,
  WEB_SOCKET,
  WEB_SOCKET_CLIENT,
} from "./program-scripts.ts";

const node = (script: string, ...argv: readonly string[]) => [
  "node",
  "--input-type=module",
  "-e",
  script,
  ...argv,
];

const DTLS_PORT = "4433";
const FTP_FILE = randomBytes(1_000_000);

const cloud = useCloud("programs", {
  endpoints: 3,
  gateways: [
    {
      name: "web",
      yaml: gatewayYaml(
        "web",
        "10.0.0.11/32, 10.0.0.12/32",
        1,
        "  timeouts: {tcpEstablished: 4, tcpTransitory: 4, tcpHalfOpen: 4, udp: 4, icmp: 4}\n",
      ),
    },
    {
      // Of ep3: connections live for hours, and all else is forgotten soon.
      name: "lasting",
      yaml: gatewayYaml(
        "lasting",
        "10.0.0.13/32",
        2,
        "  timeouts: {tcpTransitory: 4, tcpHalfOpen: 4, udp: 4, icmp: 4}\n",
      ),
    },
  ],
  prepare: async (lab) => {
    const scripts = { names: NAME_SERVER, serve: SERVE, http2: HTTP2, websocket: WEB_SOCKET };
    for (const [name, script] of Object.entries(scripts)) {
      const server = await lab.spawn(SERVER, node(script), { name });
      await until(`${name} is ready`, async () => (await server.stdout()).includes("ready"));
    }
    await serve(lab, "iperf3", ["iperf3", "--server"], 5201);
    await serve(lab, "ftp", ["vsftpd", await configureFtp(lab)], 21);
  },
});

/** Starts a server of TCP on the outside host, and waits until it listens. */
async function serve(lab: Lab, name: string, argv: readonly string[], tcp: number): Promise<void> {
  const started = await lab.spawn(SERVER, argv, { name });
  await waitReady(lab.host(SERVER), started, { tcp, timeoutSeconds: PATIENCE_MS / 1000 });
}

/** Lays out an FTP server that gives `FTP_FILE` to everybody; returns the path of its configuration. */
async function configureFtp(lab: Lab): Promise<string> {
  const { state } = nodeFolders(lab, SERVER);
  const [root, empty, configuration] = ["ftp", "empty", "vsftpd.conf"].map((name) => join(state, name));
  assert(root && empty && configuration);
  await mkdir(root);
  await mkdir(empty);
  await writeFile(join(root, "file"), FTP_FILE, { mode: 0o644 });
  const settings = {
    listen: "YES",
    listen_ipv6: "NO",
    background: "NO",
    anonymous_enable: "YES",
    anon_root: root,
    secure_chroot_dir: empty,
    // A session in namespaces of its own would outlive the lab.
    isolate: "NO",
    isolate_network: "NO",
    seccomp_sandbox: "NO",
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(configuration, lines.join(""));
  return configuration;
}

async function succeed(lab: Lab, host: string, script: string, argument: string): Promise<string> {
  return (await run(lab, host, ...node(script, argument))).trim();
}

test("A resolver that is told by UDP to ask by TCP gets its answer.", async () => {
  const lab = cloud();
  assert.equal(await succeed(lab, "ep1", RESOLVE, hostAddress(lab, SERVER)), "192.0.2.1");
});

test("Fifty requests at once share one HTTP/2 connection, and each gets what it asked for.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const said = await succeed(lab, "ep2", HTTP2_CLIENT, `http://${hostAddress(lab, SERVER)}:8082`);
  assert.equal(said, "true 50");
  await counterGrows(lab, before, "sessions_created", 1);
});

/** The role of whoever has an address on the fabric, or the address if nobody has. */
function roleOf(lab: Lab, address: string): string {
  const has = (text: string | undefined) => text?.split("/")[0] === address;
  const found = lab.topology.hosts.find(
    (host) => host.addresses.some(has) || host.interfaces.some((i) => has(i.address)),
  );
  return found?.role ?? address;
}

for (const [what, options] of [
  ["ICMP echo", ["-I"]],
  ["UDP", ["-U", "-p", "33434"]],
  ["TCP", ["-T", "-p", "80"]],
] as const) {
  test(`traceroute by ${what} sees all hops, also those beyond the NAT.`, async () => {
    const lab = cloud();
    // One packet at a time: routers limit how many errors they send to one receiver.
    const once = ["-n", "-q", "1", "-N", "1", "-m", "6"];
    const text = await run(lab, "ep2", "traceroute", ...once, ...options, hostAddress(lab, SERVER));
    const hops = text
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/)[1] ?? "");
    assert.deepEqual(
      hops.map((hop) => roleOf(lab, hop)),
      ["router", "node", "router", "server"],
      text,
    );
  });
}

interface IperfReport {
  readonly end: {
    readonly sum_sent: { readonly bytes: number };
    readonly sum_received: { readonly bytes: number };
  };
}

const IPERF_BYTES = 8_000_000;

async function iperf(lab: Lab, ...options: readonly string[]): Promise<IperfReport["end"]> {
  const bytes = ["--bytes", String(IPERF_BYTES), "--window", "64K"];
  const text = await run(
    lab,
    "ep3",
    "iperf3",
    "--json",
    ...bytes,
    ...options,
    "--client",
    hostAddress(lab, SERVER),
  );
  const report: IperfReport = JSON.parse(text);
  return report.end;
}

test("iperf3 brings its bytes from inside to outside.", async () => {
  const { sum_sent, sum_received } = await iperf(cloud());
  assert(sum_sent.bytes >= IPERF_BYTES);
  // Its server stops when the client has sent all: what is in the buffers of both sockets then is not counted.
  assert(sum_received.bytes >= sum_sent.bytes - 500_000, `${sum_received.bytes} of ${sum_sent.bytes}`);
});

test("iperf3 brings its bytes from outside to inside.", async () => {
  const { sum_received } = await iperf(cloud(), "--reverse");
  assert(sum_received.bytes >= IPERF_BYTES, String(sum_received.bytes));
});

for (const [what, options] of [
  ["EPSV", []],
  // The address that the server names is the one that curl connects to.
  ["PASV", ["--disable-epsv", "--no-ftp-skip-pasv-ip"]],
] as const) {
  test(`A file comes whole by passive FTP (${what}): the data connection comes from the address of the first.`, async () => {
    const lab = cloud();
    const file = join(nodeFolders(lab, "ep3").state, "file");
    const url = `ftp://${hostAddress(lab, SERVER)}/file`;
    await run(
      lab,
      "ep3",
      "curl",
      "--silent",
      "--show-error",
      "--max-time",
      "25",
      ...options,
      "--output",
      file,
      url,
    );
    assert(FTP_FILE.equals(await readFile(file)));
  });
}

test("Secure datagrams (DTLS) go both ways, with the server's certificate verified.", async () => {
  const lab = cloud();
  const { state } = nodeFolders(lab, SERVER);
  const [key, certificate] = [join(state, "key.pem"), join(state, "certificate.pem")];
  const made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=server", "-keyout", key];
  await run(lab, SERVER, "openssl", "req", "-x509", ...made, "-out", certificate);
  const identity = ["-key", key, "-cert", certificate];
  const server = await lab.spawn(
    SERVER,
    ["openssl", "s_server", "-dtls1_2", "-quiet", "-accept", DTLS_PORT, ...identity],
    { name: "dtls", stdin: "pipe" },
  );
  const patience = { udp: Number(DTLS_PORT), timeoutSeconds: PATIENCE_MS / 1000 };
  await waitReady(lab.host(SERVER), server, patience);
  const target = `${hostAddress(lab, SERVER)}:${DTLS_PORT}`;
  const verify = ["-CAfile", certificate, "-verify_return_error"];
  const client = await lab.spawn(
    "ep1",
    ["openssl", "s_client", "-dtls1_2", "-quiet", "-connect", target, ...verify],
    { name: "dtls", stdin: "pipe" },
  );
  client.stdin?.write("from inside\n");
  await until("the server hears it", async () => (await server.stdout()).includes("from inside"));
  server.stdin?.write("from outside\n");
  await until("the client hears it", async () => (await client.stdout()).includes("from outside"));
  for (const program of [client, server]) {
    program.kill();
    await program.exited();
  }
});

test("A WebSocket that is idle for longer than everything but an established connection may be still answers.", async () => {
  const lab = cloud();
  const client = await lab.spawn("ep3", node(WEB_SOCKET_CLIENT, `ws://${hostAddress(lab, SERVER)}:8083`), {
    name: "websocket",
    stdin: "pipe",
  });
  const hears = (what: string) =>
    until(`the WebSocket says ${what}`, async () => (await client.stdout()).trim().endsWith(what));
  await hears("open");
  client.stdin?.write("first\n");
  await hears("heard first");
  // The flows of a younger query, by UDP and by TCP, are forgotten before the WebSocket speaks again.
  const before = await counters(lab);
  await succeed(lab, "ep3", RESOLVE, hostAddress(lab, SERVER));
  await until("all younger flows are forgotten", async () => {
    const { sessions_expired = 0, sessions_created = 0 } = await counters(lab);
    return (
      sessions_created >= (before.sessions_created ?? 0) + 2 && sessions_created - sessions_expired === 1
    );
  });
  client.stdin?.write("second\n");
  await hears("heard second");
  client.stdin?.end();
  await client.exited();
  assert.match(await client.stdout(), /closed\n$/);
});

const NARROW_MTU = 1300;

/** Lets the link to the outside host take less while something is done. */
async function whileNarrow(lab: Lab, act: () => Promise<void>): Promise<void> {
  const router = "fabric-out";
  const link = lab.host(router).interfaces.find(({ peer }) => peer.host === SERVER);
  assert(link);
  const setMtu = (mtu: number) => run(lab, router, "ip", "link", "set", link.name, "mtu", String(mtu));
  await setMtu(NARROW_MTU);
  try {
    await act();
  } finally {
    await setMtu(link.mtu);
  }
}

test("An upload finds its way past a narrow link outside: the router's error reaches the endpoint (RFC 1191, RFC 5508 REQ-4).", async () => {
  const lab = cloud();
  const url = `http://${hostAddress(lab, SERVER)}:8080/`;
  assert.equal(await succeed(lab, "ep1", UPLOAD, url), "2000000");
  await whileNarrow(lab, async () => {
    assert.equal(await succeed(lab, "ep1", UPLOAD, url), "2000000");
    const learnt = await run(lab, "ep1", "ip", "route", "get", hostAddress(lab, SERVER));
    assert.match(learnt, new RegExp(`mtu ${NARROW_MTU}`), "the endpoint knows what fits");
  });
});

test("tracepath finds by UDP what a narrow link outside takes.", async () => {
  const lab = cloud();
  await whileNarrow(lab, async () => {
    const text = await run(lab, "ep2", "tracepath", "-n", "-m", "6", hostAddress(lab, SERVER));
    assert.match(text, new RegExp(`Resume: pmtu ${NARROW_MTU} hops 4 `), text);
  });
});

test("An idle connection outlives its timeout if it is kept alive; one that is silent is reset when it speaks again.", async () => {
  const lab = cloud();
  const client = await lab.spawn("ep2", node(IDLE, hostAddress(lab, SERVER)), {
    name: "idle",
    stdin: "pipe",
  });
  await until("both are open", async () => /silent open/.test(await client.stdout()));
  const before = await counters(lab);
  await until("the silent one is forgotten and the other is not", async () => {
    const { sessions_expired = 0, sessions_created = 0 } = await counters(lab);
    const beats = Number(/beat (\d+)\n$/.exec(await client.stdout())?.[1] ?? 0);
    return beats > 8 && sessions_created - sessions_expired === 1;
  });
  client.stdin?.write("speak\n");
  await client.exited();
  const said = await client.stdout();
  assert.match(said, /silent ECONNRESET/);
  assert.doesNotMatch(said, /kept E/);
  await counterGrows(lab, before, "resets_sent", 1);
});

leavesNothing(cloud);
