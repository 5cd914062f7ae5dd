/** The order in which ports are tried for a new flow or mapping: step 14 of docs/dataplane.md. */
import { FIRST_PORT, type PortRange } from "../../model/slots.ts";
import type { AddressPort, Protocol } from "./state.ts";

/** A prime that divides no number of ports a slot can have, so that its multiples are places all over it. */
const PORT_STRIDE = 39869;
/** So many places that the hash names are tried before all ports in order. */
const PLACES = 3;

/**
 * Ports of a range in the order in which they are tried for an endpoint's port toward `remote`, of which only that is given on which the mapping
 * depends: first the image of the source port; then a few places in strides from one that `hash` names; then all, from that place on, wrapping within the
 * range. UDP whose mapping depends on the remote goes without the first: it must not look as if it did not, only because ports are plenty.
 */
export function* portsToTry(
  { first, last }: PortRange,
  protocol: Protocol,
  sourcePort: number,
  remote: AddressPort,
  hash: () => number,
): Generator<number> {
  const count = last - first + 1;
  if (protocol !== "udp" || remote.address === 0) {
    yield first + (((sourcePort - FIRST_PORT + 65536) % 65536) % count);
  }
  const start = hash() % count;
  for (let place = 0; place < PLACES; place++) yield first + ((start + place * PORT_STRIDE) % count);
  for (let i = 0; i < count; i++) yield first + ((start + i) % count);
}
