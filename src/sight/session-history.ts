/** Who held a public address and port at a time, by the session log. */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { asNattoError, NattoError } from "../errors.ts";
import { type LoggedEvent, type SessionLine, sessionLineSchema } from "./session-line.ts";

export interface HeldPort extends Pick<LoggedEvent, "node" | "gateway" | "protocol" | "inside" | "remote"> {
  /** RFC 3339; undefined when the log begins later. */
  readonly from: string | undefined;
  /** RFC 3339; undefined when the log does not tell of its end. */
  readonly until: string | undefined;
}

export interface PortHistory {
  /** The sessions by this address and port that lived at the time. */
  readonly sessions: readonly HeldPort[];
  /** Lines that could not be written before the time: what they said is not known. */
  readonly lost: number;
  /** Lines that are no session log's. */
  readonly unreadable: number;
}

/** Lines a second apart in two files are in the order of their files only. `at` is epoch ms; `holder` is `ADDRESS:PORT`. */
export async function portHistory(
  lines: AsyncIterable<string>,
  holder: string,
  at: number,
): Promise<PortHistory> {
  const open = new Map<string, HeldPort>();
  const found: HeldPort[] = [];
  let lost = 0;
  let unreadable = 0;
  for await (const text of lines) {
    if (text.trim() === "") continue;
    const line = parseLine(text);
    if (!line) unreadable++;
    else if (line.event === "lost") lost += Date.parse(line.time) <= at ? line.count : 0;
    else if (line.public === holder) note(line, at, open, found);
  }
  return { sessions: [...found, ...open.values()], lost, unreadable };
}

/** Follows one session: begun at or before the time, and not ended before it. */
function note(line: LoggedEvent, at: number, open: Map<string, HeldPort>, found: HeldPort[]): void {
  const { time, event, node, gateway, protocol, inside, remote } = line;
  const key = `${node} ${protocol} ${inside} ${remote}`;
  const after = Date.parse(time) > at;
  if (event === "begin") {
    if (!after) open.set(key, { node, gateway, protocol, inside, remote, from: time, until: undefined });
    return;
  }
  const held = open.get(key);
  open.delete(key);
  if (after && held) found.push({ ...held, until: time });
}

function parseLine(text: string): SessionLine | undefined {
  try {
    return sessionLineSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** The lines of files, one after the other. Throws `Environment` when one cannot be read. */
export async function* linesOf(files: readonly string[]): AsyncGenerator<string> {
  for (const file of files) {
    try {
      yield* createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY });
    } catch (thrown) {
      throw new NattoError("Environment", `cannot read ${file}: ${asNattoError(thrown).message}`, [], thrown);
    }
  }
}

/** Reads a time such as `2026-11-24T03:12:00Z`. Throws `BadRequest`. */
export function parseTime(text: string): number {
  const time = Date.parse(text);
  if (/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}/.test(text) && !Number.isNaN(time)) return time;
  throw new NattoError("BadRequest", `--at: "${text}" is no time; write it like 2026-11-24T03:12:00Z`);
}
