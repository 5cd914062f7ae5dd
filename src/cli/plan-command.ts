/** `natto plan` */
import { Command, InvalidArgumentError } from "commander";
import { NattoError } from "../errors.ts";
import { type GatewayImpact, percentOf, type Share } from "../planner/gateway-impact.ts";
import { type Impact, impactOf } from "../planner/impact.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { type Facts, factsText, type Row } from "./facts.ts";
import { fileOption } from "./file-options.ts";
import { readManifests } from "./manifest-files.ts";
import { checkManifests } from "./manifest-set.ts";
import { formatDocument, fullNameOf, outputOption, print } from "./output.ts";
import { type ProposedObject, propose } from "./proposal.ts";
import { openAccount } from "./run-all.ts";

interface PlanOptions {
  readonly filename?: readonly string[];
  readonly delete?: boolean;
  readonly maxBlastRadius?: number;
  readonly output: "table" | "json" | "yaml";
}

const HELP = `
Nothing is written. The blast radius is the largest share of a cell's ports whose flows could break. With
--max-blast-radius the exit code is 10 when it is larger; it is 2 when a file is wrong or a gateway would be set aside.

Examples:
  natto plan -f examples/nat
  natto plan -f gateway.yaml --max-blast-radius 5
  natto plan --delete -f gateway.yaml -o json`;

export function planCommand(): Command {
  return withConnection(new Command("plan"))
    .description("Say what applying files would do: to which nodes, slots, gateways and flows.")
    .addOption(fileOption())
    .option("--delete", "say what deleting the objects in the files would do")
    .option("--max-blast-radius <percent>", "fail when more than this could break", parsePercent)
    .addOption(outputOption(["table", "json", "yaml"]))
    .addHelpText("after", HELP)
    .action(async (options: PlanOptions, command: Command) => {
      process.exitCode = await planFiles(options, command);
    });
}

function parsePercent(text: string): number {
  const percent = /^\d+(\.\d+)?%?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (percent <= 100) return percent;
  throw new InvalidArgumentError("Use a number from 0 to 100.");
}

async function planFiles(options: PlanOptions, command: Command): Promise<number> {
  const { filename, output, maxBlastRadius = 100 } = options;
  if (!filename) throw new NattoError("BadRequest", "natto plan needs -f FILE, -f FOLDER or -f -");
  const manifests = await readManifests(filename, process.stdin);
  const { valid, faults } = checkManifests(manifests, connectionOf(command).namespace);
  const account = openAccount();
  const mode = options.delete ? "delete" : "apply";
  const proposal = await withStore(command, (store) => propose(store, valid, mode));
  const impact = impactOf(proposal.before, proposal.after);
  [...faults, ...proposal.faults].forEach(account.failed);
  for (const { gateway, message } of impact.rejected) {
    account.failed(new NattoError("Rejected", `NatGateway ${gateway} would be set aside: ${message}`));
  }
  const objects = objectRows(proposal.objects);
  if (output === "table") print(factsText(impactFacts(impact, objects)));
  else print(formatDocument({ ...impact, objects }, output));
  const code = account.settle(manifests.length, "planned");
  if (code !== 0 || impact.blastRadiusPercent <= maxBlastRadius) return code;
  throw new NattoError(
    "TooRisky",
    `the blast radius is ${round(impact.blastRadiusPercent)} %, more than --max-blast-radius ${maxBlastRadius}; make the change in smaller steps, or allow more`,
  );
}

function objectRows(objects: readonly ProposedObject[]): readonly Row[] {
  return objects.flatMap(({ before, after, outcome }) => {
    const object = after ?? before;
    return object ? [{ object: fullNameOf(object), outcome }] : [];
  });
}

function impactFacts(impact: Impact, objects: readonly Row[]): Facts {
  const { cells, gateways, nodes } = impact;
  const tables: Readonly<Record<string, readonly Row[]>> = {
    objects,
    cells: cells.map(({ cell, percent }) => ({ cell, couldBreak: `${round(percent)} %` })),
    gateways: gateways.map(gatewayRow),
    moves: gateways.flatMap(({ gateway, moves }) =>
      moves.map(({ from, to, slots }) => ({ gateway, from, to: to ?? "", slots })),
    ),
    nodes: nodes.map(({ node, gains, loses, changes }) => ({
      ...{ node, slotsGained: gains, slotsLost: loses },
      changes,
    })),
  };
  return {
    blastRadius: `${round(impact.blastRadiusPercent)} %`,
    slotsThatMove: impact.movedSlots,
    nodesThatChange: nodes.length,
    ...Object.fromEntries(Object.entries(tables).filter(([, rows]) => rows.length > 0)),
  };
}

function gatewayRow(impact: GatewayImpact): Row {
  return {
    gateway: impact.gateway,
    change: impact.change,
    couldBreak: `${round(impact.percent)} %`,
    ports: shareText(impact.ports),
    endpoints: `${impact.estimated ? "about " : ""}${shareText(impact.endpoints)}`,
  };
}

function shareText(share: Share): string {
  return `${share.affected} of ${share.total} (${round(percentOf(share))} %)`;
}

function round(percent: number): number {
  return Math.round(percent * 10) / 10;
}
