/** `natto agent`: runs the agent of this machine, or takes back all that it made. */
import { Command, InvalidArgumentError, Option } from "commander";
import type { AgentOptions } from "../agent/agent.ts";
import { NattoError } from "../errors.ts";
import type { LogLevel } from "../logger.ts";
import { NATTO_VERSION } from "../version.ts";
import { type ListenAddress, parseListenAddress } from "./listen-address.ts";
import { agentMembershipOption } from "./membership-option.ts";

const DEFAULT_PIN_FOLDER = "/sys/fs/bpf/natto";
const DEFAULT_STATE_FOLDER = "/var/lib/natto";
const DEFAULT_LOG_RATE = 10_000;
const DEFAULT_MAX_SESSIONS = 262_144;

const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

interface AgentFlags {
  readonly node?: string;
  readonly cell?: string;
  readonly store?: string;
  readonly membership: string;
  readonly address?: string;
  readonly inside?: string;
  readonly outside?: string;
  readonly label: Readonly<Record<string, string>>;
  readonly pinFolder: string;
  readonly stateFolder: string;
  readonly maxSessions: number;
  readonly logLevel: LogLevel;
  readonly observeListen?: ListenAddress;
  readonly observeTokenFile?: string;
  readonly sessionLog: string;
  readonly sessionLogRate: number;
  readonly check?: true;
  readonly cleanup?: true;
}

/** The command, for the root of the CLI. Its action throws NattoErrors. */
export function agentCommand(): Command {
  return new Command("agent")
    .description("run the agent of this NAT node: take its NodeConfig, make it so, keep it so, report")
    .option("--node <name>", "name of this node")
    .option("--cell <name>", "the cell that it belongs to")
    .option("--store <url>", "where its configuration is, such as http://192.0.2.1:7474")
    .addOption(agentMembershipOption())
    .option("--address <ip>", "address at which the other nodes of the cell reach this one")
    .option("--inside <interface>", "interface toward the endpoints")
    .option("--outside <interface>", "interface toward the outside; may be the same one")
    .addOption(
      new Option("--label <key=value>", "label of the node, such as its zone (may be repeated)")
        .argParser(addLabel)
        .default({}, "none"),
    )
    .option("--pin-folder <folder>", "folder on a BPF file system, without a dot", DEFAULT_PIN_FOLDER)
    .option("--state-folder <folder>", "folder that survives reboots", DEFAULT_STATE_FOLDER)
    .option("--max-sessions <n>", "size of the session table", parseSessions, DEFAULT_MAX_SESSIONS)
    .addOption(
      new Option(
        "--observe-listen <host:port>",
        "let sessions and metrics be read here over HTTP, such as 0.0.0.0:7476",
      ).argParser(parseListenAddress),
    )
    .option(
      "--session-log <file>",
      "where gateways with spec.log have their sessions written down; - is standard output",
      "-",
    )
    .option("--session-log-rate <n>", "at most so many lines a second", parseRate, DEFAULT_LOG_RATE)
    .option("--observe-token-file <file>", "who reads them must show the token that is in this file")
    .addOption(new Option("--log-level <level>", "what is logged").choices(LOG_LEVELS).default("info"))
    .option("--check", "tell whether this version can take over from the agent that runs here, and exit")
    .option("--cleanup", "remove all that an agent made on this machine, and exit")
    .addHelpText("after", HELP)
    .action(async (flags: AgentFlags) => {
      if (flags.check) await checkTakeover(flags);
      else await (flags.cleanup ? cleanUp(flags) : run(flags));
    });
}

const HELP = `
Examples:
  natto agent --node node-a --cell main --store http://192.0.2.1:7474 \\
    --address 10.255.0.1 --inside eth1 --outside eth2 --label topology.natto.dev/zone=rack-1
  natto agent --check          (of the new version, before an upgrade)
  natto agent --cleanup

Stopping, killing or upgrading the agent does not stop the forwarding; --cleanup does.`;

/** Runs until SIGTERM or SIGINT. */
async function run(flags: AgentFlags): Promise<void> {
  const identity = identityOf(flags);
  const { pinFolder, stateFolder, maxSessions } = flags;
  // Loaded here, so that other commands need not load them.
  const { startAgent } = await import("../agent/agent.ts");
  const { openStore } = await import("../store/open-store.ts");
  const { describeDamage } = await import("../store/object-codec.ts");
  const { openLogger } = await import("../logger.ts");
  const { untilStopped } = await import("./stop-signal.ts");
  const { openDataplane } = await import("../dataplane/xdp-dataplane.ts");
  const logger = openLogger(flags.logLevel);
  const store = await openStore(identity.store, (damage) => logger.error(damage, describeDamage(damage)));
  const { startMember } = await import("../membership/open-membership.ts");
  const startRegistration = startMember(flags.membership, logger);
  const options: AgentOptions = {
    ...(startRegistration ? { startRegistration } : {}),
    identity,
    pinFolder,
    stateFolder,
    maxSessions,
    store,
    openDataplane,
    logger,
    version: NATTO_VERSION,
    ...(await observation(flags, identity.store)),
    sessionLog: { file: flags.sessionLog, linesPerSecond: flags.sessionLogRate },
  };
  const stopped = untilStopped();
  const agent = await startAgent(options);
  logger.info({ version: NATTO_VERSION, cell: identity.cell }, `agent of node ${identity.node} is running`);
  await stopped;
  await agent.close();
  await store.close();
  // Connections that the store's client keeps for later must not hold the process.
  process.exit(0);
}

async function observation(
  { observeListen: listen, observeTokenFile: file }: AgentFlags,
  store: string,
): Promise<Pick<AgentOptions, "observe">> {
  if (!listen) return {};
  const { addressToward } = await import("../sight/known-as.ts");
  const { readToken } = await import("../sight/token.ts");
  const knownAs = listen.host === "0.0.0.0" ? await addressToward(store) : listen.host;
  return { observe: { ...listen, knownAs, token: file === undefined ? undefined : readToken(file) } };
}

async function checkTakeover({ pinFolder, maxSessions }: AgentFlags): Promise<void> {
  const { previewTakeover } = await import("../dataplane/xdp-dataplane.ts");
  for (const line of previewTakeover({ pinFolder, maxSessions })) process.stdout.write(`${line}\n`);
}

async function cleanUp({ pinFolder, stateFolder }: AgentFlags): Promise<void> {
  const { cleanupAgent } = await import("../agent/cleanup.ts");
  const { cleanupDataplane } = await import("../dataplane/xdp-dataplane.ts");
  const { cleanupRouting } = await import("../routing/open-router.ts");
  const removed = await cleanupAgent({ pinFolder, stateFolder, cleanupRouting, cleanupDataplane });
  for (const thing of removed) process.stdout.write(`removed ${thing}\n`);
  if (removed.length === 0) process.stdout.write("nothing to remove\n");
}

function identityOf(flags: AgentFlags): AgentOptions["identity"] & { readonly store: string } {
  const names = ["node", "cell", "store", "address", "inside", "outside"] as const;
  const missing = names.filter((name) => flags[name] === undefined);
  const { node, cell, store, address, inside, outside, label } = flags;
  if (!node || !cell || !store || !address || !inside || !outside) {
    const details = missing.map((name) => ({
      field: `--${name}`,
      message: "is required",
      remedy: "give it; natto agent --help shows an example",
    }));
    throw new NattoError("BadRequest", "the agent does not know enough about its node", details);
  }
  return { node, cell, store, address, interfaces: { inside, outside }, labels: label };
}

function addLabel(text: string, earlier: Readonly<Record<string, string>>): Record<string, string> {
  const cut = text.indexOf("=");
  if (cut < 1) throw new InvalidArgumentError("write it like topology.natto.dev/zone=rack-1");
  return { ...earlier, [text.slice(0, cut)]: text.slice(cut + 1) };
}

function parseRate(text: string): number {
  const rate = Number(text);
  if (Number.isInteger(rate) && rate >= 1 && rate <= 1_000_000) return rate;
  throw new InvalidArgumentError("give a whole number from 1 to 1000000");
}

function parseSessions(text: string): number {
  const sessions = Number(text);
  if (Number.isInteger(sessions) && sessions >= 1024 && sessions <= 16_777_216) return sessions;
  throw new InvalidArgumentError("give a whole number from 1024 to 16777216");
}
