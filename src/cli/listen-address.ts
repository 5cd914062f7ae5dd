/** Where a service listens. Pure. */
import { InvalidArgumentError } from "commander";

export interface ListenAddress {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** Reads `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (all addresses). For commander: throws its error. */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65535) {
    throw new InvalidArgumentError("Write HOST:PORT, such as 127.0.0.1:7474; port 0 takes a free one.");
  }
  return { host: match[1] ?? (match[2] || "0.0.0.0"), port };
}
