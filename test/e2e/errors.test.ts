/** What the network says about packets: a fabric without room for the wrap, routers on the way, closed ports, connections that nobody knows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import { transferAll } from "../../src/demo/http-check.ts";
import { choosePorts, wayOf } from "../../src/demo/port-choice.ts";
import {
  counterGrows,
  counters,
  gatewayYaml,
  hostsOf,
  leavesNothing,
  placementOf,
  SERVER,
  until,
  useCloud,
} from "./fixture.ts";

const BODY_BYTES = 1_000_000;

/** Short timeouts, so that a silent connection is soon forgotten. */
const cloud = useCloud("errors", {
  endpoints: 4,
  fabricMtu: 1500,
  gateways: [
    {
      name: "web",
      yaml: gatewayYaml(
        "web",
        "10.0.0.0/24",
        1,
        "  timeouts: {tcpEstablished: 5, tcpTransitory: 5, udp: 5, icmp: 5}\n",
      ),
    },
  ],
});

/** Far from those that the first transfers take, whose outside ports rest. */
const OTHER_PORTS = 20_500;

for (const upload of [false, true]) {
  test(`${upload ? "Uploads" : "Bodies"} arrive intact although no full packet fits the fabric when it is wrapped.`, async () => {
    const lab = cloud();
    const choices = await choosePorts(
      lab,
      await placementOf(lab, "web"),
      hostsOf(lab, "endpoint"),
      SERVER,
      upload ? OTHER_PORTS : undefined,
    );
    const transfers = await transferAll(lab, choices, { server: SERVER, bytes: BODY_BYTES, upload });
    for (const { host, way, intact, path } of transfers) {
      assert.equal(wayOf(path), way, host);
      assert(intact, `${host}, ${way}`);
    }
  });
}

test("Senders on both sides were told what fits.", async () => {
  const lab = cloud();
  await counterGrows(lab, {}, "too_big_sent", 2);
});

test("A packet whose life ends outside is reported to the endpoint that sent it, by the router where it ended.", async () => {
  const lab = cloud();
  const [host] = hostsOf(lab, "endpoint");
  // Three routers: the fabric's, the node, and the fabric's outside. A wrapped packet does not age on its way between nodes.
  const { stdout } = await lab.exec(host!, [
    "ping",
    "-n",
    "-c",
    "1",
    "-W",
    "5",
    "-t",
    "3",
    hostAddress(lab, SERVER),
  ]);
  assert.match(stdout, /From (10\.253\.2\.\d+|198\.51\.100\.1) .*Time to live exceeded/);
});

test("A closed UDP port outside is reported to the socket that asked.", async () => {
  const lab = cloud();
  const [host] = hostsOf(lab, "endpoint");
  const script = `
    const socket = (await import("node:dgram")).createSocket("udp4");
    socket.on("error", (error) => { console.log(error.code); process.exit(0); });
    socket.connect(9, "${hostAddress(lab, SERVER)}", () => setInterval(() => socket.send("?"), 200));
    setTimeout(() => process.exit(1), 20000);`;
  const { stdout, code } = await lab.exec(host!, ["node", "--input-type=module", "-e", script]);
  assert.deepEqual([stdout.trim(), code], ["ECONNREFUSED", 0]);
});

test("A connection of which no node knows is reset, so that its client need not wait.", async () => {
  const lab = cloud();
  const [host] = hostsOf(lab, "endpoint");
  const script = `
    const { connect } = await import("node:net");
    const { createInterface } = await import("node:readline");
    const socket = connect(7007, "${hostAddress(lab, SERVER)}", () => console.log("connected"));
    socket.on("error", (error) => { console.log(error.code); process.exit(0); });
    createInterface({ input: process.stdin }).on("line", () => setInterval(() => socket.write("x"), 200));
    setTimeout(() => process.exit(1), 60000);`;
  const client = await lab.spawn(host!, ["node", "--input-type=module", "-e", script], {
    name: "client",
    stdin: "pipe",
  });
  await until("the client is connected", async () => (await client.stdout()).includes("connected"));
  await until("all sessions have ended", async () => {
    const { sessions_created, sessions_expired } = await counters(lab);
    return sessions_created === sessions_expired;
  });
  const before = await counters(lab);
  client.stdin?.write("go\n");
  await client.exited();
  assert.match(await client.stdout(), /ECONNRESET/);
  await counterGrows(lab, before, "resets_sent", 1);
});

leavesNothing(cloud);
