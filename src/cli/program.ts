/** The program `natto`: reads the command line, loads the one command that it calls, runs it, and turns errors into exit codes. */
import { Command, CommanderError } from "commander";
import { asNattoError, ERRORS } from "../errors.ts";
import { NATTO_VERSION } from "../version.ts";
import { COMMANDS } from "./commands.ts";
import { withConnection } from "./connection.ts";
import { errorText } from "./error-text.ts";

const EXAMPLES = `
Examples:
  natto server --store file:natto.db --controller
  natto apply -f examples/nat
  natto get gateways -A
  natto whois 203.0.113.10:2345

Every command has its own examples: natto help COMMAND`;

/** Runs a command line (without the program's name) and returns the exit code: 0, or the one of the error in `ERRORS`. */
export async function runNatto(args: readonly string[]): Promise<number> {
  try {
    const program = await assemble(args);
    await program.parseAsync(args, { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (thrown) {
    // Commander has printed its own errors and its help by now.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : ERRORS.BadRequest.exit;
    const error = asNattoError(thrown);
    process.stderr.write(`natto: ${errorText(error)}\n`);
    if (error.code === "Internal" && error.cause instanceof Error)
      process.stderr.write(`${error.cause.stack}\n`);
    return ERRORS[error.code].exit;
  }
}

/** The program with all commands by name, of which the called one is loaded. */
async function assemble(args: readonly string[]): Promise<Command> {
  const called = calledCommand(args);
  const program = rootCommand();
  for (const { name, summary, group, load } of COMMANDS) {
    const command = name === called ? await load() : new Command(name);
    program.addCommand(command.summary(summary).helpGroup(group));
    inheritSettings(program, command);
  }
  return program;
}

/** The first word that is not an option, or with `help` the second. */
function calledCommand(args: readonly string[]): string | undefined {
  const separator = args.indexOf("--");
  const { operands } = rootCommand().parseOptions(separator < 0 ? [...args] : args.slice(0, separator));
  return operands[0] === "help" ? operands[1] : operands[0];
}

function rootCommand(): Command {
  const program = new Command("natto")
    .description("Natto: declarative, distributed, active/active source NAT for private clouds")
    .version(NATTO_VERSION, "-V, --version", "print Natto's version")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "natto: ")) })
    .addHelpCommand(
      new Command("help")
        .argument("[command]")
        .description("show a command's help and examples")
        .helpGroup("Other:"),
    )
    .addHelpText("after", EXAMPLES);
  return withConnection(program);
}

function inheritSettings(parent: Command, command: Command): void {
  command.copyInheritedSettings(parent);
  for (const sub of command.commands) inheritSettings(command, sub);
}
