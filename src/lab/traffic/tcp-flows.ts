/** The prober's TCP flows: each a connection to the echo server over which it sends numbered records. */
import { connect } from "node:net";
import { flowTally, type Gap } from "./flow-tally.ts";

export interface TcpFlowReport {
  readonly flow: number;
  readonly localPort: number | undefined;
  /** The address:port that the server sees. */
  readonly outside: string | undefined;
  /** Records of 16 bytes. */
  readonly sent: number;
  readonly answered: number;
  /** When and why the connection was lost, or never came to be; undefined while it stands. Milliseconds since 1970. */
  readonly broken: { readonly at: number; readonly reason: string } | undefined;
  readonly longestGap: Gap | undefined;
}

export interface TcpFlow {
  readonly answered: () => boolean;
  send(): void;
  report(): TcpFlowReport;
  close(): void;
}

export interface TcpFlowOptions {
  readonly server: string;
  readonly port: number;
  readonly flow: number;
  readonly localPort: number | undefined;
  readonly now: () => number;
}

const RECORD_BYTES = 16;
/** What waits in the socket of a dead connection is bounded. */
const MAX_QUEUED_BYTES = 64 * 1024;

/** Opens a connection; a flow that cannot be opened is one that is broken. */
export function openTcpFlow({ server, port, flow, localPort, now }: TcpFlowOptions): TcpFlow {
  const tally = flowTally();
  let greeting = "";
  let outside: string | undefined;
  let bytes = 0;
  let answered = 0;
  let ownPort: number | undefined;
  let broken: TcpFlowReport["broken"];
  let closing = false;
  const socket = connect({
    host: server,
    port,
    ...(localPort === undefined ? {} : { localPort }),
    noDelay: true,
  });
  const fail = (reason: string) => {
    if (!closing) broken ??= { at: now(), reason };
  };
  socket.on("connect", () => {
    ownPort = socket.localPort;
  });
  socket.on("error", (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
  socket.on("close", () => fail("closed by the server"));
  socket.on("data", (chunk) => {
    let rest = chunk;
    if (outside === undefined) {
      const end = chunk.indexOf(0x0a);
      greeting += chunk.subarray(0, end < 0 ? chunk.length : end).toString();
      if (end < 0) return;
      outside = (JSON.parse(greeting) as { client: string }).client;
      rest = chunk.subarray(end + 1);
    }
    bytes += rest.length;
    while ((answered + 1) * RECORD_BYTES <= bytes) {
      answered++;
      tally.answer(answered - 1, answered, now());
    }
  });
  return {
    answered: () => answered > 0,
    send: () => {
      if (broken || socket.writableLength > MAX_QUEUED_BYTES) return;
      const record = Buffer.alloc(RECORD_BYTES);
      record.writeUInt32BE(tally.send(now()), 0);
      socket.write(record);
    },
    report: () => ({
      flow,
      localPort: ownPort,
      outside,
      sent: tally.counts().sent,
      answered,
      broken,
      longestGap: tally.longestGap(),
    }),
    close: () => {
      closing = true;
      socket.destroy();
    },
  };
}
