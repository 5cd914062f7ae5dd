/** The socket of the prober: bound to the node's own address, and opened anew after a failure. */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { asNattoError } from "../errors.ts";
import type { AgentLogger } from "./agent-logger.ts";

/** How long after a failure to bind it is tried again. */
const REBIND_MS = 1000;
/** A burst of answers from a large cell must fit. */
const RECEIVE_BUFFER_BYTES = 512 * 1024;

export interface ProbeSocket {
  /** The socket bound to this address, or undefined while it cannot be had. */
  bound(address: string): Promise<Socket | undefined>;
  close(): void;
}

/** Keeps one socket bound to the address that was last asked for; one that failed is opened anew after a while. */
export function keepProbeSocket(
  logger: AgentLogger,
  onMessage: (message: Buffer, from: RemoteInfo) => void,
): ProbeSocket {
  let current: { readonly address: string; readonly socket: Socket } | undefined;
  let retryAt = 0;
  let lastProblem = "";

  const drop = (): void => {
    current?.socket.close();
    current = undefined;
  };
  const fail = (address: string, thrown: unknown): void => {
    retryAt = performance.now() + REBIND_MS;
    const problem = `peers cannot be probed from ${address}: ${asNattoError(thrown).message}`;
    if (problem !== lastProblem) logger.warn(problem);
    lastProblem = problem;
  };
  return {
    async bound(address) {
      if (current?.address === address) return current.socket;
      drop();
      if (performance.now() < retryAt) return undefined;
      const socket = createSocket({ type: "udp4", recvBufferSize: RECEIVE_BUFFER_BYTES });
      try {
        socket.bind({ address, port: 0 });
        await once(socket, "listening");
      } catch (thrown) {
        fail(address, thrown);
        socket.close();
        return undefined;
      }
      socket.on("error", (error) => {
        fail(address, error);
        if (current?.socket === socket) drop();
      });
      socket.on("message", onMessage);
      lastProblem = "";
      current = { address, socket };
      return socket;
    },
    close: drop,
  };
}
