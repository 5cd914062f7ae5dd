import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "commander";
import { parseListenAddress } from "./listen-address.ts";

test("hosts, names, IPv6 addresses and all addresses can be listened on", () => {
  const read = ["127.0.0.1:7474", "localhost:0", "[::1]:80", ":7474"].map(parseListenAddress);
  assert.deepEqual(read, [
    { host: "127.0.0.1", port: 7474 },
    { host: "localhost", port: 0 },
    { host: "::1", port: 80 },
    { host: "0.0.0.0", port: 7474 },
  ]);
});

test("what is no host and port is refused with an example", () => {
  for (const text of ["", "7474", "localhost", "localhost:", "h:65536", "::1:80", "h:1x"]) {
    assert.throws(() => parseListenAddress(text), InvalidArgumentError, text);
  }
});
