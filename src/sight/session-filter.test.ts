import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { aSession } from "./fixtures.ts";
import { DEFAULT_LIMIT, parseLimit, type SessionQuery, sessionFilter } from "./session-filter.ts";

const SESSION = aSession({});

test("a session is found by each of its sides, by address, by address and port, and by block", () => {
  const fitting: readonly SessionQuery[] = [
    {},
    { gateway: "team-a/web" },
    { protocol: "tcp" },
    { endpoint: "10.0.0.11" },
    { endpoint: "10.0.0.11:40000" },
    { endpoint: "10.0.0.0/24" },
    { public: "203.0.113.10:2345" },
    { remote: "198.51.100.0/24:443" },
    { gateway: "team-a/web", protocol: "tcp", endpoint: "10.0.0.11", remote: "198.51.100.7" },
  ];
  for (const query of fitting) assert.ok(sessionFilter(query)(SESSION), JSON.stringify(query));
});

test("one field that does not match is enough to leave a session out", () => {
  const others: readonly SessionQuery[] = [
    { gateway: "team-a/mail" },
    { protocol: "udp" },
    { endpoint: "10.0.0.12" },
    { endpoint: "10.0.0.11:40001" },
    { public: "203.0.113.11" },
    { remote: "198.51.101.0/24" },
    { remote: "198.51.100.7:80", gateway: "team-a/web" },
  ];
  for (const query of others) assert.ok(!sessionFilter(query)(SESSION), JSON.stringify(query));
});

test("a question that means nothing is refused by the name of its field", () => {
  const wrong: readonly (readonly [SessionQuery, RegExp])[] = [
    [{ gateway: "web" }, /^gateway: found "web"; write NAMESPACE\/NAME/],
    [{ protocol: "sctp" }, /^protocol: found "sctp"; use one of tcp, udp, icmp/],
    [{ endpoint: "10.0.0.300" }, /^endpoint: found "10.0.0.300"; write ADDRESS/],
    [{ public: "203.0.113.10:99999" }, /^public: /],
    [{ remote: "1.2.3.4:5:6" }, /^remote: /],
    [{ remote: "198.51.100.1/24" }, /^remote: /],
  ];
  for (const [query, message] of wrong) {
    assert.throws(
      () => sessionFilter(query),
      (error) => error instanceof NattoError && error.code === "BadRequest" && message.test(error.message),
    );
  }
});

test("a limit is a whole number within bounds", () => {
  assert.equal(parseLimit(undefined), DEFAULT_LIMIT);
  assert.equal(parseLimit("5"), 5);
  for (const text of ["0", "-1", "1.5", "many", "1000000"])
    assert.throws(() => parseLimit(text), /limit: found/);
});
