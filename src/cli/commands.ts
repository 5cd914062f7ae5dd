/**
 * The table of commands. Each is loaded only when it is called, so that `natto --help` and `natto get` start fast and
 * `natto agent` holds nothing that it does not need.
 */
import type { Command } from "commander";

export interface CommandEntry {
  readonly name: string;
  /** One line in `natto --help`. */
  readonly summary: string;
  readonly group: string;
  readonly load: () => Promise<Command>;
}

const OBJECTS = "Objects:";
const QUESTIONS = "Questions:";
const REPAIR = "Backup and repair:";
const SERVICES = "Services:";
const OTHER = "Other:";

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "apply",
    summary: "make what is stored as files say",
    group: OBJECTS,
    load: async () => (await import("./apply-command.ts")).applyCommand(),
  },
  {
    name: "get",
    summary: "list objects, or follow their changes",
    group: OBJECTS,
    load: async () => (await import("./get-command.ts")).getCommand(),
  },
  {
    name: "describe",
    summary: "everything about an object, for people",
    group: OBJECTS,
    load: async () => (await import("./describe-command.ts")).describeCommand(),
  },
  {
    name: "delete",
    summary: "delete objects",
    group: OBJECTS,
    load: async () => (await import("./delete-command.ts")).deleteCommand(),
  },
  {
    name: "plan",
    summary: "what applying files would do: to which nodes, slots and flows",
    group: QUESTIONS,
    load: async () => (await import("./plan-command.ts")).planCommand(),
  },
  {
    name: "diff",
    summary: "what applying files would change, field by field",
    group: QUESTIONS,
    load: async () => (await import("./diff-command.ts")).diffCommand(),
  },
  {
    name: "drain",
    summary: "take a node out of service, keeping its flows until they end",
    group: OBJECTS,
    load: async () => (await import("./drain-command.ts")).drainCommand(),
  },
  {
    name: "undrain",
    summary: "give a drained node its share again",
    group: OBJECTS,
    load: async () => (await import("./drain-command.ts")).undrainCommand(),
  },
  {
    name: "confirm-lost",
    summary: "say that a node whose loss is doubted is truly dead",
    group: OBJECTS,
    load: async () => (await import("./confirm-lost-command.ts")).confirmLostCommand(),
  },
  {
    name: "rollout",
    summary: "how far a change has come, and whether it goes on",
    group: OBJECTS,
    load: async () => (await import("./rollout-command.ts")).rolloutCommand(),
  },
  {
    name: "whois",
    summary: "who holds a public address and port, and which port range an endpoint has",
    group: QUESTIONS,
    load: async () => (await import("./whois-command.ts")).whoisCommand(),
  },
  {
    name: "sessions",
    summary: "live sessions, gathered from the nodes",
    group: QUESTIONS,
    load: async () => (await import("./sessions-command.ts")).sessionsCommand(),
  },
  {
    name: "events",
    summary: "what happened, to which objects",
    group: QUESTIONS,
    load: async () => (await import("./events-command.ts")).eventsCommand(),
  },
  {
    name: "export",
    summary: "write all objects as YAML",
    group: REPAIR,
    load: async () => (await import("./export-command.ts")).exportCommand(),
  },
  {
    name: "import",
    summary: "bring back what export has written",
    group: REPAIR,
    load: async () => (await import("./import-command.ts")).importCommand(),
  },
  {
    name: "accept",
    summary: "have nodes obey a store that has less than they had",
    group: REPAIR,
    load: async () => (await import("./accept-command.ts")).acceptCommand(),
  },
  {
    name: "trace",
    summary: "what would become of a packet, step by step",
    group: QUESTIONS,
    load: async () => (await import("./trace-command.ts")).traceCommand(),
  },
  {
    name: "server",
    summary: "serve the HTTP API over a store, with --controller a whole control plane",
    group: SERVICES,
    load: async () => (await import("./server-command.ts")).serverCommand(),
  },
  {
    name: "controller",
    summary: "plan and publish what is declared in a store",
    group: SERVICES,
    load: async () => (await import("./controller-command.ts")).controllerCommand(),
  },
  {
    name: "agent",
    summary: "make this machine a gateway node",
    group: SERVICES,
    load: async () => (await import("./agent-command.ts")).agentCommand(),
  },
  {
    name: "lab",
    summary: "build little clouds out of network namespaces",
    group: OTHER,
    load: async () => (await import("./lab-command.ts")).labCommand(),
  },
  {
    name: "version",
    summary: "print Natto's version",
    group: OTHER,
    load: async () => (await import("./version-command.ts")).versionCommand(),
  },
];
