/** `natto trace` */
import { Command, Option } from "commander";
import type { AddressPort, Protocol } from "../dataplane/model/state.ts";
import { NattoError } from "../errors.ts";
import { formatAddress, parseAddress } from "../model/ipv4.ts";
import { gatherSessions } from "../sight/gather.ts";
import { MAX_LIMIT } from "../sight/session-filter.ts";
import type { ReportedSession } from "../sight/session-report.ts";
import { readToken } from "../sight/token.ts";
import { parseFlags, type TracedPacket, trace } from "../sight/trace.ts";
import type { Store } from "../store/store.ts";
import { withConnection, withStore } from "./connection.ts";
import { type Facts, factsText } from "./facts.ts";
import { formatDocument, outputOption, print, say } from "./output.ts";

const HELP = `
Runs the dataplane's reference model on what the nodes are configured to do now. No packet is sent and no node is asked,
unless --live is given: then the sessions that the nodes have are taken into account. Routes are assumed to exist.

Examples:
  natto trace --from 10.0.0.11:40000 --to 198.51.100.11:443
  natto trace --from 10.0.0.11:5353 --to 198.51.100.11:53 --protocol udp --at node-b
  natto trace --from 198.51.100.11:443 --to 203.0.113.0:57345 --flags syn,ack --live`;

interface TraceOptions {
  readonly from: string;
  readonly to: string;
  readonly protocol: Protocol;
  readonly flags: string;
  readonly at?: string;
  readonly live?: boolean;
  readonly tokenFile?: string;
  readonly output: "table" | "json" | "yaml";
}

export function traceCommand(): Command {
  return withConnection(new Command("trace"))
    .description(
      "What would become of a packet, step by step: slot, owner, steering, translation, or why it is dropped.",
    )
    .requiredOption("--from <address:port>", "source; of an echo request ADDRESS:IDENTIFIER")
    .requiredOption("--to <address:port>", "destination; of an echo reply ADDRESS:IDENTIFIER")
    .addOption(new Option("--protocol <name>", "what is sent").choices(["tcp", "udp", "icmp"]).default("tcp"))
    .option("--flags <names>", "of TCP: syn, ack, fin, rst, psh, with commas", "syn")
    .option("--at <node>", "the node that gets it first (any may)")
    .option("--live", "take the sessions into account that the nodes have now")
    .addOption(
      new Option("--token-file <file>", "holds the token that the nodes want to see").env("NATTO_TOKEN_FILE"),
    )
    .addOption(outputOption(["table", "json", "yaml"]))
    .addHelpText("after", HELP)
    .action(async (options: TraceOptions, command: Command) => {
      const packet: TracedPacket = {
        protocol: options.protocol,
        from: parseEnd("--from", options.from),
        to: parseEnd("--to", options.to),
        flags: parseFlags(options.flags),
      };
      const traced = await withStore(command, async (store) => {
        const { items } = await store.list({ kind: "NodeConfig" });
        const live = options.live ? await liveSessions(store, packet, options.tokenFile) : undefined;
        return trace(packet, items, options.at, live);
      });
      const { direction, result, leaves, steps } = traced;
      const facts: Facts = {
        packet: `${options.protocol} ${endText(packet.from)} > ${endText(packet.to)}`,
        direction,
        result,
        ...(leaves ? { leavesAs: `${endText(leaves.from)} > ${endText(leaves.to)}` } : {}),
        steps: steps.map(({ node, what }, i) => ({ step: i + 1, node, what })),
      };
      print(options.output === "table" ? factsText(facts) : formatDocument(facts, options.output));
    });
}

function endText({ address, port }: AddressPort): string {
  return `${formatAddress(address)}:${port}`;
}

function parseEnd(option: string, text: string): AddressPort {
  const [where = "", portText = "0", ...rest] = text.split(":");
  const address = parseAddress(where);
  const port = Number(portText);
  if (address !== undefined && /^\d{1,5}$/.test(portText) && port <= 65535 && rest.length === 0) {
    return { address, port };
  }
  throw new NattoError(
    "BadRequest",
    `${option}: "${text}" is no address and port; write it like 10.0.0.5:40000`,
  );
}

/** The sessions of the nodes that the packet could belong to, by node. */
async function liveSessions(
  store: Store,
  { protocol, from, to }: TracedPacket,
  tokenFile: string | undefined,
): Promise<ReadonlyMap<string, readonly ReportedSession[]>> {
  const { items } = await store.list({ kind: "GatewayNode" });
  const token = tokenFile === undefined ? undefined : readToken(tokenFile);
  const options = { limit: MAX_LIMIT, token };
  const found = new Map<string, ReportedSession[]>();
  for (const query of [{ endpoint: endText(from) }, { public: endText(to) }]) {
    const { reports, failures } = await gatherSessions(items, { protocol, ...query }, options);
    for (const { node, sessions } of reports) found.set(node, [...(found.get(node) ?? []), ...sessions]);
    if (query.public)
      for (const { node, error } of failures)
        say(`${node}: its sessions are missing, since it ${error.message}`);
  }
  return found;
}
