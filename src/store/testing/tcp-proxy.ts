/** A TCP proxy for tests, whose connections can be cut, refused, and kept from answering. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface TcpProxy {
  /** `host:port` at which it listens. */
  readonly endpoint: string;
  /** How many connections there have been. */
  connections(): number;
  /** Breaks all connections; new ones are taken at once. */
  cut(): void;
  /** While blocked, all connections are broken at once. */
  block(blocked: boolean): void;
  /** From now on nothing of what the target says gets through, while it hears everything. */
  mute(): void;
  close(): Promise<void>;
}

/** `target`: `host:port` to pass everything on to. */
export async function startProxy(target: string): Promise<TcpProxy> {
  const [host, port] = target.split(":");
  const sockets = new Set<Socket>();
  let connections = 0;
  let blocked = false;
  let muted = false;

  function join(from: Socket, to: Socket, passes: () => boolean): void {
    sockets.add(from);
    from.on("error", () => {});
    from.on("close", () => {
      sockets.delete(from);
      to.destroy();
    });
    from.on("data", (data) => {
      if (passes() && !to.write(data)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
  }

  const server = createServer((near) => {
    connections++;
    if (blocked) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host, port: Number(port) });
    join(near, far, () => true);
    join(far, near, () => !muted);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections: () => connections,
    cut,
    block: (on) => {
      blocked = on;
      if (on) cut();
    },
    mute: () => {
      muted = true;
    },
    close: async () => {
      const closed = once(server, "close");
      server.close();
      cut();
      await closed;
    },
  };
}
