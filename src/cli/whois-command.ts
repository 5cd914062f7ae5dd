/** `natto whois` */
import { Command, Option } from "commander";
import { NattoError } from "../errors.ts";
import { formatAddress } from "../model/ipv4.ts";
import { withConnection, withStore } from "./connection.ts";
import { type Facts, factsText } from "./facts.ts";
import { formatDocument, outputOption, print } from "./output.ts";
import { type Protocol, parseQuestion, type WhoisAnswer, type WhoisQuestion, whois } from "./whois.ts";

const HELP = `
The answer follows from what is planned now. It says which endpoints may use the port: with deterministic allocation exactly the
one that holds it, with hashed allocation all that share it. Which one does now: natto sessions; which one did: --at and --log.

Examples:
  natto whois 203.0.113.10:2345
  natto whois 203.0.113.10:77 --protocol icmp
  natto whois 203.0.113.10
  natto whois 10.0.0.5 -o json
  natto whois 203.0.113.10:2345 --at 2026-11-24T03:12:00Z --log node-a.log node-b.log`;

interface WhoisOptions {
  readonly at?: string;
  readonly log?: readonly string[];
  readonly protocol: Protocol;
  readonly output: "table" | "json" | "yaml";
}

export function whoisCommand(): Command {
  return withConnection(new Command("whois"))
    .description(
      "Who holds a public address and port now: gateway, slot, ports, owner, next in line, endpoints; or the host with that floating address or forward. And the reverse: the public address and ports of an endpoint.",
    )
    .argument("<address>", "PUBLIC-ADDRESS:PORT, PUBLIC-ADDRESS or INSIDE-ADDRESS")
    .addOption(
      new Option("--protocol <name>", "for icmp, PORT is the echo identifier")
        .choices(["tcp", "udp", "icmp"])
        .default("tcp"),
    )
    .option("--at <time>", "who held it then, by the session log; such as 2026-11-24T03:12:00Z")
    .option("--log <files...>", "session logs of the nodes, each older one before the newer")
    .addOption(outputOption(["table", "json", "yaml"]))
    .addHelpText("after", HELP)
    .action(async (address: string, options: WhoisOptions, command: Command) => {
      const { protocol, output } = options;
      const question = parseQuestion(address);
      if (options.at !== undefined || options.log) return await tellHistory(question, options);
      const answers = await withStore(command, async (store) => {
        const [gateways, placements, pools, floats, forwards] = await Promise.all([
          store.list({ kind: "NatGateway" }),
          store.list({ kind: "Placement" }),
          store.list({ kind: "AddressPool" }),
          store.list({ kind: "FloatingAddress" }),
          store.list({ kind: "PortForward" }),
        ]);
        return whois(
          { ...question, protocol },
          {
            gateways: gateways.items,
            placements: placements.items,
            pools: pools.items,
            floats: floats.items,
            forwards: forwards.items,
          },
        );
      });
      const facts = answers.map((answer) => answerFacts(answer, protocol));
      if (output === "table") print(facts.map(factsText).join("\n"));
      else print(formatDocument(facts.length === 1 ? facts[0] : { kind: "List", items: facts }, output));
    });
}

/** Who held the address and port at a time, by the session log. */
async function tellHistory(
  { address, port }: WhoisQuestion,
  { at, log, output }: WhoisOptions,
): Promise<void> {
  if (at === undefined || !log || port === undefined) {
    throw new NattoError(
      "BadRequest",
      "who held it then needs ADDRESS:PORT, --at TIME and --log FILE; give all three",
    );
  }
  const { linesOf, parseTime, portHistory } = await import("../sight/session-history.ts");
  const holder = `${formatAddress(address)}:${port}`;
  const { sessions, lost, unreadable } = await portHistory(linesOf(log), holder, parseTime(at));
  const rows = sessions.map(({ inside, protocol, remote, gateway, node, from, until }) => ({
    endpoint: inside,
    protocol,
    remote,
    gateway,
    node,
    from: from ?? "",
    until: until ?? "",
  }));
  const facts: Facts = { public: holder, at, sessions: rows, linesLost: lost, linesUnreadable: unreadable };
  print(output === "table" ? factsText(facts) : formatDocument(facts, output));
}

/** An answer as it is printed. */
function answerFacts(answer: WhoisAnswer, protocol: Protocol): Facts {
  switch (answer.question) {
    case "port": {
      const { question: _, port, endpoints, publicAddress, ...slot } = answer;
      const { count, first, tried, total } = endpoints;
      return {
        publicAddress,
        [protocol === "icmp" ? "identifier" : "port"]: port,
        protocol,
        ...slot,
        endpointsOfThisPort: count,
        endpoints: first,
        ...(tried < total ? { endpointsTried: `${tried} of ${total}` } : {}),
      };
    }
    case "static": {
      const { question: _, kind, name, ...rest } = answer;
      return { [kind === "FloatingAddress" ? "floatingAddress" : "portForward"]: name, ...rest };
    }
    case "endpoint": {
      const { question: _, endpoint, source, ...slot } = answer;
      return { endpoint, source, ...slot };
    }
    case "spread-endpoint":
    case "public-address": {
      const { question: _, owners, ...rest } = answer;
      return { ...rest, owners };
    }
  }
}
