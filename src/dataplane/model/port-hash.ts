/**
 * Where the search for a port begins: SipHash-1-3 (Aumasson and Bernstein) of the endpoint and the remote with a key that only the node knows, so that who
 * sees ports cannot tell the next ones (RFC 6056, section 3.3.3). bpf/port-hash.h computes the same.
 */
import type { AddressPort } from "./state.ts";

/** 128 bits: the first and the second half of the key, little-endian. */
export type PortKey = readonly [bigint, bigint];

/** For whoever does not know the node's own. */
export const NO_PORT_KEY: PortKey = [0n, 0n];

const add = (a: bigint, b: bigint): bigint => BigInt.asUintN(64, a + b);
const rotate = (x: bigint, bits: bigint): bigint => BigInt.asUintN(64, x << bits) | (x >> (64n - bits));

type SipState = readonly [bigint, bigint, bigint, bigint];

function sipRound([a, b, c, d]: SipState): SipState {
  const v0 = add(a, b);
  const v1 = rotate(b, 13n) ^ v0;
  const v2 = add(c, d);
  const v3 = rotate(d, 16n) ^ v2;
  const w0 = add(rotate(v0, 32n), v3);
  const w2 = add(v2, v1);
  return [w0, rotate(v1, 17n) ^ w2, rotate(w2, 32n), rotate(v3, 21n) ^ w0];
}

/** SipHash-1-3 of 16 bytes, given as two little-endian words of 64 bits. */
export function sipHash13([k0, k1]: PortKey, first: bigint, second: bigint): bigint {
  let state: SipState = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ];
  const length = 16n << 56n;
  for (const word of [first, second, length]) {
    const [v0, v1, v2, v3] = sipRound([state[0], state[1], state[2], state[3] ^ word]);
    state = [v0 ^ word, v1, v2, v3];
  }
  const [v0, v1, v2, v3] = state;
  const [w0, w1, w2, w3] = sipRound(sipRound(sipRound([v0, v1, v2 ^ 0xffn, v3])));
  return w0 ^ w1 ^ w2 ^ w3;
}

/** 32 bits for an endpoint's port and a remote, of which only that is given on which the mapping depends. */
export function portHash(key: PortKey, network: number, inside: AddressPort, remote: AddressPort): number {
  const first = BigInt(inside.address) | (BigInt(remote.address) << 32n);
  const second = BigInt(inside.port) | (BigInt(remote.port) << 16n) | (BigInt(network) << 32n);
  return Number(BigInt.asUintN(32, sipHash13(key, first, second)));
}
