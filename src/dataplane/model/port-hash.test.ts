import assert from "node:assert/strict";
import { test } from "node:test";
import { portHash, sipHash13 } from "./port-hash.ts";

test("the hash is SipHash-1-3 as others compute it", () => {
  // What Python 3.11, whose hash of bytes it is, says of the bytes 0 to 15 with PYTHONHASHSEED=0, which is the key of zeros.
  assert.equal(sipHash13([0n, 0n], 0x0706050403020100n, 0x0f0e0d0c0b0a0908n), 0x8972188433a5c5b7n);
});

test("each bit of the key, of the endpoint and of the remote changes the hash", () => {
  const inside = { address: 0x0a010001, port: 5000 };
  const remote = { address: 0xc6336401, port: 443 };
  const all = [
    portHash([0n, 0n], 0, inside, remote),
    portHash([1n, 0n], 0, inside, remote),
    portHash([0n, 1n << 63n], 0, inside, remote),
    portHash([0n, 0n], 1, inside, remote),
    portHash([0n, 0n], 0, { ...inside, address: 0x0a010003 }, remote),
    portHash([0n, 0n], 0, { ...inside, port: 5001 }, remote),
    portHash([0n, 0n], 0, inside, { ...remote, address: 0x46336401 }),
    portHash([0n, 0n], 0, inside, { ...remote, port: 442 }),
  ];
  assert.equal(new Set(all).size, all.length);
});
