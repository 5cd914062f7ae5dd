/** The log of the services: JSON lines on standard error, or lines for people when that is a terminal. */
import pino, { type Logger } from "pino";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function openLogger(level: LogLevel): Logger {
  const options = { level, base: {}, timestamp: pino.stdTimeFunctions.isoTime };
  if (!process.stderr.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(options, { write: (line) => process.stderr.write(`${humanLine(line)}\n`) });
}

/** One of pino's JSON lines as people like it: time of day, level, message, then the other fields. */
export function humanLine(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const rest = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const label = pino.levels.labels[Number(level)] ?? String(level);
  return [String(time).slice(11, 19), label.toUpperCase().padEnd(5), msg, ...rest].join(" ");
}
