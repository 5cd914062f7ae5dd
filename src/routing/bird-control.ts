/**
 * BIRD's control socket. A command is one line; the answer is lines of a four-digit code and a text, `-` after the code where more follow
 * and a blank at the last one; a line that begins with a blank has the code of the one before. Codes from 8000 on are errors.
 */
import { connect } from "node:net";
import { NattoError } from "../errors.ts";

export interface BirdLine {
  readonly code: number;
  readonly text: string;
}

/** An answer is over at a line whose code is followed by a blank. */
function isLast(line: string): boolean {
  return /^\d{4} /.test(line);
}

/** The lines of a complete answer with their codes. Pure. */
export function parseAnswer(text: string): BirdLine[] {
  let code = 0;
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const match = /^(\d{4})[- ](.*)$/.exec(line);
      if (match) code = Number(match[1]);
      return { code, text: match ? match[2]! : line.slice(1) };
    });
}

/**
 * Asks a BIRD these commands on one connection and returns its answers. Throws `Unavailable` when nobody listens on the socket, or when it does
 * not answer within `limitMs` altogether. An answer that is an error is returned like any other.
 */
export async function askBird(
  socketPath: string,
  commands: readonly string[],
  limitMs = 2000,
): Promise<readonly (readonly BirdLine[])[]> {
  const socket = connect(socketPath);
  socket.setEncoding("utf8");
  const answers: BirdLine[][] = [];
  let pending = "";
  // The first answer is the greeting.
  const expected = commands.length + 1;
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (problem: string, cause?: unknown): void =>
        reject(new NattoError("Unavailable", `BIRD ${problem}`, [], cause));
      const timer = setTimeout(() => fail(`did not answer within ${limitMs} ms`), limitMs);
      socket.on("close", () => {
        clearTimeout(timer);
        fail("closed its control socket");
      });
      socket.on("error", (cause) => fail(`cannot be reached at its control socket: ${cause.message}`, cause));
      socket.on("data", (chunk: string) => {
        pending += chunk;
        for (let end = endOfAnswer(pending); end > 0; end = endOfAnswer(pending)) {
          answers.push(parseAnswer(pending.slice(0, end)));
          pending = pending.slice(end);
          const next = commands[answers.length - 1];
          if (next !== undefined) socket.write(`${next}\n`);
        }
        if (answers.length >= expected) resolve();
      });
    });
  } finally {
    socket.destroy();
  }
  return answers.slice(1);
}

/** Where the first complete answer of the text ends; 0 when there is none. */
function endOfAnswer(text: string): number {
  let start = 0;
  for (;;) {
    const end = text.indexOf("\n", start);
    if (end < 0) return 0;
    if (isLast(text.slice(start, end))) return end + 1;
    start = end + 1;
  }
}

/** The text of an answer's error; undefined when it is none. */
export function errorOf(answer: readonly BirdLine[]): string | undefined {
  return answer.find((line) => line.code >= 8000)?.text;
}
