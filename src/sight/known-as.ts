/** By which address others know this machine. */
import { createSocket } from "node:dgram";
import { once } from "node:events";

/**
 * The local address from which a store is reached: who can reach the store can reach this machine by it, as a rule. The loopback address
 * for a store that is no host, and while there is no route.
 */
export async function addressToward(store: string): Promise<string> {
  const host = /^[a-z]+:\/\/(?:[^@/]*@)?([^:,/]+)/.exec(store)?.[1];
  if (host === undefined) return "127.0.0.1";
  const socket = createSocket("udp4");
  try {
    // Nothing is sent: the kernel only looks up the route.
    socket.connect(9, host);
    await once(socket, "connect");
    return socket.address().address;
  } catch {
    return "127.0.0.1";
  } finally {
    socket.close();
  }
}
