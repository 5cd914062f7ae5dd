/** `natto lab up|down|exec|status|cut|restore|logs` */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { Command, Option } from "commander";
import { NattoError } from "../errors.ts";
import { openLab, requireRoot, upLab } from "../lab/lab.ts";
import { hostEnvironment, inNamespace } from "../lab/lab-process.ts";
import { type HostStatus, type LabStatus, labStatus, pickLab } from "../lab/lab-status.ts";
import { downLab } from "../lab/teardown.ts";
import { type Format, formatDocument, outputOption, print, say } from "./output.ts";
import { tableLines } from "./table.ts";

interface NameOption {
  readonly name?: string;
}

const nameOption = () => new Option("-n, --name <lab>", "which lab, when several are up");

/** `natto lab` and its subcommands. Errors are thrown as NattoErrors. */
export function labCommand(): Command {
  return new Command("lab")
    .description("Build little clouds out of network namespaces, declared in YAML (docs/lab.md). Needs root.")
    .addCommand(upCommand())
    .addCommand(downCommand())
    .addCommand(statusCommand())
    .addCommand(execCommand())
    .addCommand(cutCommand())
    .addCommand(restoreCommand())
    .addCommand(logsCommand())
    .addHelpText(
      "after",
      `
Examples:
  natto lab up examples/lab.yaml
  natto lab exec ep1 -- curl http://198.51.100.11/whoami
  natto lab cut node2
  natto lab down`,
    );
}

function upCommand(): Command {
  return new Command("up")
    .description("Make a lab and start its processes. If anything fails, all that was made is removed.")
    .argument("<file>", "the lab, in YAML")
    .option("-n, --name <lab>", "call it so, instead of as in the file")
    .addOption(outputOption(["table", "wide", "json", "yaml"]))
    .action(async (file: string, { name, output }: NameOption & { readonly output: Format }) => {
      const interruption = new AbortController();
      const interrupt = (signal: NodeJS.Signals) => {
        say(`natto: ${signal}: removing what was made`);
        interruption.abort(
          new NattoError("Unavailable", `interrupted by ${signal}; everything that was made is removed`),
        );
        process.exitCode = 128 + constants.signals[signal];
      };
      process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
      try {
        const lab = await upLab(file, {
          ...(name === undefined ? {} : { name }),
          signal: interruption.signal,
        });
        print(formatStatus(await labStatus(lab), output));
      } catch (thrown) {
        if (!interruption.signal.aborted) throw thrown;
        say(`natto: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      } finally {
        process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
      }
    });
}

function downCommand(): Command {
  return new Command("down")
    .description("End everything in a lab and remove all that it was made of. Running it twice does no harm.")
    .argument("[name]", "which lab; the only one by default")
    .addOption(nameOption())
    .action(async (argument: string | undefined, options: NameOption) => {
      requireRoot();
      const name = await pickLab(argument ?? options.name).catch((thrown: unknown) => {
        if (thrown instanceof NattoError && thrown.code === "NotFound") return undefined;
        throw thrown;
      });
      if (name === undefined) return print("no lab is up\n");
      const { processes, namespaces, mounts } = await downLab(name);
      print(
        `lab ${name} is down: removed ${namespaces} namespaces, ${mounts} mounts and ended ${processes} processes\n`,
      );
    });
}

function statusCommand(): Command {
  return new Command("status")
    .description("Show the hosts of a lab, their addresses and processes.")
    .addOption(nameOption())
    .addOption(outputOption(["table", "wide", "json", "yaml"]))
    .action(async ({ name, output }: NameOption & { readonly output: Format }) => {
      const lab = await openLab(await pickLab(name));
      print(formatStatus(await labStatus(lab), output));
    });
}

function execCommand(): Command {
  return new Command("exec")
    .description(
      "Run a command in a host and exit as it does. `natto` and `node` are this Natto and its Node.js.",
    )
    .argument("<host>")
    .argument("<command...>", "after --, with its arguments")
    .addOption(nameOption())
    .action(async (host: string, command: readonly string[], { name }: NameOption) => {
      requireRoot();
      const lab = await openLab(await pickLab(name));
      process.exitCode = await runAttached(inNamespace(lab.host(host).namespace, command));
    });
}

/** Runs a program on our own standard input and output, passes signals on, and returns its exit code. */
function runAttached(argv: readonly string[]): Promise<number> {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { stdio: "inherit", env: { ...process.env, ...hostEnvironment() } });
  // Ctrl-C reaches the program too, and it decides what that means; TERM comes to us alone.
  const ignore = () => {};
  const passOn = () => child.kill("SIGTERM");
  process.on("SIGINT", ignore).on("SIGTERM", passOn);
  return new Promise<number>((resolve, reject) => {
    child.on("error", (cause) =>
      reject(new NattoError("Environment", `cannot run ${program}; install util-linux`, [], cause)),
    );
    child.on("exit", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  }).finally(() => process.off("SIGINT", ignore).off("SIGTERM", passOn));
}

function cutCommand(): Command {
  return new Command("cut")
    .description("Take the fabric links of a host down at both ends, as when its power fails.")
    .argument("<host>")
    .option("--management", "its management link too")
    .addOption(nameOption())
    .action(async (host: string, options: NameOption & { readonly management?: boolean }) => {
      requireRoot();
      const lab = await openLab(await pickLab(options.name));
      await lab.cutLinks(host, { management: options.management ?? false });
      print(`links of ${host} are cut\n`);
    });
}

function restoreCommand(): Command {
  return new Command("restore")
    .description("Bring back the links of a host that were cut.")
    .argument("<host>")
    .addOption(nameOption())
    .action(async (host: string, { name }: NameOption) => {
      requireRoot();
      const lab = await openLab(await pickLab(name));
      await lab.restoreLinks(host);
      print(`links of ${host} are up\n`);
    });
}

function logsCommand(): Command {
  return new Command("logs")
    .description("Show what a process of a host has written: its standard output, then its standard error.")
    .argument("<host>")
    .argument("<process>")
    .addOption(nameOption())
    .action(async (host: string, process: string, { name }: NameOption) => {
      const lab = await openLab(await pickLab(name));
      const found = await lab.process(host, process);
      print((await found.stdout()) + (await found.stderr()));
    });
}

function formatStatus(status: LabStatus, format: Format): string {
  if (format === "json" || format === "yaml") return formatDocument(status, format);
  const wide = format === "wide";
  const header = ["HOST", "ROLE", "ADDRESSES", "PROCESSES", "LINKS", ...(wide ? ["NAMESPACE"] : [])];
  const rows = status.hosts.map((host) => [
    host.name,
    host.role,
    host.addresses.join(","),
    host.processes
      .map((p) => (p.state === "running" ? `${p.name} (${p.pid})` : `${p.name} (ended)`))
      .join(", "),
    links(host, wide),
    ...(wide ? [host.exists ? host.namespace : `${host.namespace} (missing)`] : []),
  ]);
  const title = `lab ${status.name}: ${status.phase}, in ${status.folder}`;
  return `${[title, ...tableLines([header, ...rows])].join("\n")}\n`;
}

function links(host: HostStatus, wide: boolean): string {
  const cut = host.interfaces.filter((i) => i.state === "cut").map((i) => `${i.name} cut`);
  if (!wide) return [`${host.interfaces.length - cut.length} up`, ...cut].join(", ");
  return host.interfaces.map((i) => `${i.name}=${i.peer}${i.state === "cut" ? " (cut)" : ""}`).join(",");
}
