/**
 * What outsiders' programs find out about Natto: coturn's discovery of mapping and filtering (RFC 5780), the STUN client of RFC 3489, two peers that
 * punch a hole, and one that floods.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gatewayReady, natto } from "../../src/demo/cloud.ts";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { waitReady } from "../../src/lab/lab-process.ts";
import { mappedAddress, newFlows, punchHole } from "../../src/lab/traffic/traffic.ts";
import { DEPENDENCES, type Dependence } from "../../src/model/nat-behaviour.ts";
import {
  counterGrows,
  counters,
  gatewayYaml,
  leavesNothing,
  PATIENCE_MS,
  run,
  SERVER,
  until,
  useCloud,
} from "./fixture.ts";

interface Subject {
  readonly host: string;
  readonly gateway: string;
  readonly mapping: Dependence;
  readonly filtering: Dependence;
}

/** An endpoint behind a gateway of its own for each mapping and each filter that goes with it. */
const SUBJECTS: readonly Subject[] = DEPENDENCES.flatMap((mapping, looseness) =>
  DEPENDENCES.slice(looseness).map((filtering) => ({ mapping, filtering })),
).map((combination, i) => ({ host: `ep${i + 1}`, gateway: `nat${i + 1}`, ...combination }));
/** Two endpoints behind one gateway, one of whom floods. */
const [FLOODER, NEIGHBOUR] = ["ep7", "ep8"] as const;
const SESSIONS_EACH = 50;
/** The second address of the STUN server; the first is the host's. */
const OTHER_ADDRESS = "198.51.100.211";
const STUN_PORT = 3478;

const cloud = useCloud("discovery", {
  nodes: 2,
  endpoints: 8,
  gateways: [],
  prepare: async (lab) => {
    const address = (host: string) => hostAddress(lab, host);
    const gateways = SUBJECTS.map(({ host, gateway, mapping, filtering }) =>
      gatewayYaml(
        gateway,
        `${address(host)}/32`,
        1,
        `  mapping: {udp: ${mapping}}\n  filtering: {udp: ${filtering}}\n`,
      ),
    );
    const limits = `  limits: {sessionsPerEndpoint: ${SESSIONS_EACH}}\n`;
    gateways.push(gatewayYaml("limited", `${address(FLOODER)}/32, ${address(NEIGHBOUR)}/32`, 1, limits));
    await natto(lab, ["apply", "-f", "-"], gateways.join("---\n"));
    for (const name of [...SUBJECTS.map(({ gateway }) => gateway), "limited"]) {
      await gatewayReady(lab, name, PATIENCE_MS);
    }
    await startStunServer(lab);
  },
});

async function startStunServer(lab: Lab): Promise<void> {
  await run(lab, SERVER, "ip", "addr", "add", `${OTHER_ADDRESS}/24`, "dev", "eth0");
  await run(lab, "fabric-out", "ip", "route", "add", OTHER_ADDRESS, "via", hostAddress(lab, SERVER));
  const listen = ["-L", hostAddress(lab, SERVER), "-L", OTHER_ADDRESS];
  const alone = ["-n", "--stun-only", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout"];
  const server = await lab.spawn(
    SERVER,
    ["turnserver", ...alone, "--pidfile", "/dev/null", "--userdb", `${lab.folder.path}/turn.db`, ...listen],
    { name: "stun" },
  );
  await waitReady(lab.host(SERVER), server, { udp: STUN_PORT, timeoutSeconds: 30 });
}

/** What coturn's program says of an endpoint's NAT. From a fixed port, so that what it sees is always the same. */
async function discovered(
  lab: Lab,
  host: string,
  what: "Mapping" | "Filtering",
): Promise<string | undefined> {
  const option = what === "Mapping" ? ["-m", "-l", "40001"] : ["-f", "-l", "40002"];
  const argv = [...option, "-L", hostAddress(lab, host), hostAddress(lab, SERVER)];
  const output = await run(lab, host, "turnutils_natdiscovery", ...argv);
  // It would call a server that does not answer from its second address an independent mapping.
  if (what === "Mapping") assert.match(output, /RFC 5780 response 2/);
  return new RegExp(`NAT with (.*) ${what}!`).exec(output)?.[1];
}

const spoken = (dependence: Dependence): string =>
  ({
    EndpointIndependent: "Endpoint Independent",
    AddressDependent: "Address Dependent",
    AddressAndPortDependent: "Address and Port Dependent",
  })[dependence];

for (const { host, mapping, filtering } of SUBJECTS) {
  test(`coturn finds ${spoken(mapping)} Mapping and ${spoken(filtering)} Filtering where they are declared.`, async () => {
    const lab = cloud();
    assert.equal(await discovered(lab, host, "Mapping"), spoken(mapping));
    assert.equal(await discovered(lab, host, "Filtering"), spoken(filtering));
  });
}

/** The verdicts of RFC 3489, section 5: four kinds of cone and symmetric, in the program's words. */
function classicVerdict({ mapping, filtering }: Subject): RegExp {
  if (mapping !== "EndpointIndependent") return /^Primary: Dependent Mapping/m;
  const filter = { EndpointIndependent: "Independent", AddressDependent: "Address Dependent" };
  const word = filtering === "AddressAndPortDependent" ? "Port Dependent" : filter[filtering];
  return new RegExp(`^Primary: Independent Mapping, ${word} Filter`, "m");
}

test("The client of RFC 3489 comes to the same verdicts.", async () => {
  const lab = cloud();
  await Promise.all(
    SUBJECTS.map(async (subject) => {
      // It exits with its verdict as a number.
      const { stdout } = await lab.exec(subject.host, ["stun", hostAddress(lab, SERVER)]);
      assert.match(stdout, classicVerdict(subject), subject.host);
    }),
  );
});

test("Two peers behind gateways with endpoint-independent mapping punch a hole to each other.", async () => {
  const lab = cloud();
  const port = 41_000;
  const peers = SUBJECTS.filter(({ mapping }) => mapping === "EndpointIndependent").slice(1);
  assert.deepEqual(
    peers.map(({ filtering }) => filtering),
    ["AddressDependent", "AddressAndPortDependent"],
  );
  const [one, two] = peers.map(({ host }) => host) as [string, string];
  const server = hostAddress(lab, SERVER);
  const outside = await Promise.all([one, two].map((host) => mappedAddress(lab, host, port, server)));
  const heard = await Promise.all([
    punchHole(lab, one, port, outside[1]!),
    punchHole(lab, two, port, outside[0]!),
  ]);
  assert.deepEqual(heard, [outside[1], outside[0]]);
});

test("An endpoint that floods gets what its limit says, which is counted, and its neighbour does not notice.", async () => {
  const lab = cloud();
  const server = hostAddress(lab, SERVER);
  const before = await counters(lab);
  const flows = 300;
  const flooded = await newFlows(lab, FLOODER, server, flows);
  assert(flooded > 0 && flooded <= SESSIONS_EACH, `${flooded} of the flood's flows were answered`);
  await counterGrows(lab, before, "drop_limit_sessions", flows - SESSIONS_EACH);
  assert.equal(await newFlows(lab, FLOODER, server, 1), 0);
  // A busy machine may be late with an answer; the neighbour's limit leaves room for ten attempts.
  await until("the neighbour's flows are answered", async () => {
    return (await newFlows(lab, NEIGHBOUR, server, 5)) === 5;
  });
});

leavesNothing(cloud);
