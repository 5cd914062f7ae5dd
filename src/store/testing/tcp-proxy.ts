/** A TCP proxy for tests, whose connections can be cut. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface TcpProxy {
  /** `host:port` at which it listens. */
  readonly endpoint: string;
  /** How many connections there have been. */
  connections(): number;
  /** Breaks all connections; new ones are taken at once. */
  cut(): void;
  close(): Promise<void>;
}

/** `target`: `host:port` to pass everything on to. */
export async function startProxy(target: string): Promise<TcpProxy> {
  const [host, port] = target.split(":");
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((near) => {
    connections++;
    const far = connect({ host, port: Number(port) });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections: () => connections,
    cut,
    close: async () => {
      const closed = once(server, "close");
      server.close();
      cut();
      await closed;
    },
  };
}
