import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { consulSettings } from "./consul-settings.ts";

test("an address without anything has the usual port, service and deadline, and no token", () => {
  assert.deepEqual(consulSettings("consul://127.0.0.1", {}), {
    endpoint: "127.0.0.1:8500",
    service: "natto",
    tls: undefined,
    token: undefined,
    deadlineMs: 2000,
  });
});

test("an address may name port, service, TLS files, a token's file and a deadline", () => {
  const text =
    "consul://localhost:8501?ca=/ca.pem&cert=/c.pem&key=/k.pem&tokenFile=/t&service=natto-west&deadlineMs=500";
  assert.deepEqual(consulSettings(text, { NATTO_CONSUL_TOKEN: "not this one" }), {
    endpoint: "localhost:8501",
    service: "natto-west",
    tls: { ca: "/ca.pem", cert: "/c.pem", key: "/k.pem" },
    token: { file: "/t" },
    deadlineMs: 500,
  });
});

test("the token may come from the environment", () => {
  const { token } = consulSettings("consul://h", { NATTO_CONSUL_TOKEN: "secret" });
  assert.deepEqual(token, { value: "secret" });
});

test("an address that is wrong is refused with what is wrong and how to write it", () => {
  for (const [text, words] of [
    ["consul:h", /not an address of Consul/],
    ["consul://", /found "", which is not HOST or HOST:PORT/],
    ["consul://a,b", /found "a,b"/],
    ["consul://secret@a", /token does not belong into an address; give tokenFile/],
    ["consul://a?service=Natto", /found "Natto", allowed are lower-case letters/],
    ["consul://a?token=x", /unknown parameter "token"; known are tls, ca, cert, key, tokenFile/],
    ["consul://a?cert=/c", /cert and key belong together/],
  ] as const) {
    assert.throws(
      () => consulSettings(text, {}),
      (error) => {
        assert(error instanceof NattoError && error.code === "BadRequest", text);
        assert.match(error.message, words);
        assert.match(error.message, /write it like consul:/);
        return !error.message.includes("secret");
      },
    );
  }
});
