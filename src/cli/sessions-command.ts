/** `natto sessions` */
import { Command, InvalidArgumentError, Option } from "commander";
import { asNattoError, ERRORS } from "../errors.ts";
import { gatherSessions } from "../sight/gather.ts";
import { DEFAULT_LIMIT, parseLimit, type SessionQuery, sessionFilter } from "../sight/session-filter.ts";
import type { ReportedSession } from "../sight/session-report.ts";
import { readToken } from "../sight/token.ts";
import { withConnection, withStore } from "./connection.ts";
import { formatDocument, outputOption, print, say } from "./output.ts";
import { tableLines } from "./table.ts";

const HELP = `
Every node is asked for the sessions that it has now. When one does not answer, the others' are shown, a message says
which is missing, and the exit code is 7.

Examples:
  natto sessions --gateway team-a/web
  natto sessions --endpoint 10.0.0.11 --protocol udp
  natto sessions --public 203.0.113.10:2345 -o wide
  natto sessions --remote 198.51.100.0/24 --node node-a --limit 20 -o json`;

interface SessionsOptions extends SessionQuery {
  readonly node?: readonly string[];
  readonly limit: number;
  readonly tokenFile?: string;
  readonly output: "table" | "wide" | "json" | "yaml";
}

type Row = ReportedSession & { readonly node: string };

export function sessionsCommand(): Command {
  return withConnection(new Command("sessions"))
    .description(
      "Live sessions, gathered from the nodes: who speaks with whom, by which public address and port.",
    )
    .option("--gateway <namespace/name>", "of this gateway")
    .option("--endpoint <address>", "of this inside address, ADDRESS:PORT or block")
    .option("--public <address>", "by this public address, ADDRESS:PORT or block")
    .option("--remote <address>", "with this remote address, ADDRESS:PORT or block")
    .option("--protocol <name>", "tcp, udp or icmp")
    .option("--node <names...>", "only on these nodes")
    .addOption(
      new Option("--limit <n>", "at most so many of each node").argParser(limitOf).default(DEFAULT_LIMIT),
    )
    .addOption(
      new Option("--token-file <file>", "holds the token that the nodes want to see").env("NATTO_TOKEN_FILE"),
    )
    .addOption(outputOption(["table", "wide", "json", "yaml"]))
    .addHelpText("after", HELP)
    .action(async (options: SessionsOptions, command: Command) => {
      // A wrong question is told at once, and not by every node.
      sessionFilter(options);
      process.exitCode = await showSessions(options, command);
    });
}

function limitOf(text: string): number {
  try {
    return parseLimit(text);
  } catch (thrown) {
    throw new InvalidArgumentError(asNattoError(thrown).message);
  }
}

async function showSessions(options: SessionsOptions, command: Command): Promise<number> {
  const { limit, output } = options;
  const token = options.tokenFile === undefined ? undefined : readToken(options.tokenFile);
  const stored = await withStore(command, (store) => store.list({ kind: "GatewayNode" }));
  const wanted = options.node && new Set(options.node);
  const nodes = stored.items.filter(({ metadata }) => !wanted || wanted.has(metadata.name));
  const { reports, failures } = await gatherSessions(nodes, options, { limit, token });
  const rows = reports.flatMap(({ node, sessions }) =>
    sessions.map((session): Row => ({ node, ...session })),
  );
  if (output === "json" || output === "yaml") {
    const missing = failures.map(({ node, error }) => ({ node, message: error.message }));
    print(formatDocument({ sessions: rows, matching: sum(reports.map((r) => r.matching)), missing }, output));
  } else if (rows.length > 0) {
    print(`${tableLines(sessionTable(rows, output === "wide")).join("\n")}\n`);
  } else {
    say("no session matches");
  }
  for (const { node, sessions, matching } of reports) {
    if (sessions.length < matching) {
      say(`${node}: ${sessions.length} of ${matching} sessions are shown; --limit shows more`);
    }
  }
  for (const name of wanted ?? []) {
    if (!nodes.some(({ metadata }) => metadata.name === name)) say(`there is no GatewayNode ${name}`);
  }
  for (const { node, error } of failures) say(`${node}: missing, since it ${error.message}`);
  return failures[0] ? ERRORS[failures[0].error.code].exit : 0;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

function sessionTable(rows: readonly Row[], wide: boolean): string[][] {
  const header = ["PROTOCOL", "INSIDE", "PUBLIC", "REMOTE", "IDLE", "NODE"];
  const more = ["IDLE OUT", "IDLE IN", "SLOT", "GATEWAY"];
  return [
    [...header, ...(wide ? more : [])],
    ...rows.map(({ protocol, inside, public: outside, remote, idleOut, idleIn, node, slot, gateway }) => {
      const idle = Math.min(idleOut ?? Number.POSITIVE_INFINITY, idleIn ?? Number.POSITIVE_INFINITY);
      const ends = [inside, outside, remote].map(({ address, port }) => `${address}:${port}`);
      const fields = [protocol, ...ends, seconds(idle), node];
      return [...fields, ...(wide ? [seconds(idleOut), seconds(idleIn), String(slot), gateway] : [])];
    }),
  ];
}

function seconds(idle: number | undefined): string {
  return idle === undefined || !Number.isFinite(idle) ? "" : `${Math.floor(idle)}s`;
}
