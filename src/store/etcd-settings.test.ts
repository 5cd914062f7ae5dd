import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { describeSettings, etcdSettings } from "./etcd-settings.ts";

const noFile = (path: string): string => assert.fail(`${path} was read`);

test("an address without anything has the usual port, prefix and deadline", () => {
  const settings = etcdSettings("etcd://etcd-1", {}, noFile);
  assert.deepEqual(settings, {
    endpoints: ["etcd-1:2379"],
    prefix: "/natto/",
    tls: undefined,
    login: undefined,
    deadlineMs: 500,
  });
});

test("an address may name members, prefix, TLS files, user and deadline; its description has no secrets", () => {
  const settings = etcdSettings(
    "etcd://me:p%40ss@10.0.0.1:2379,[fd00::2]:2380,c/clouds/a/?ca=/ca.pem&cert=/c.pem&key=/k.pem&deadlineMs=2000",
    {},
    noFile,
  );
  assert.deepEqual(settings, {
    endpoints: ["10.0.0.1:2379", "[fd00::2]:2380", "c:2379"],
    prefix: "/clouds/a/",
    tls: { ca: "/ca.pem", cert: "/c.pem", key: "/k.pem" },
    login: { user: "me", password: "p@ss" },
    deadlineMs: 2000,
  });
  assert.equal(describeSettings(settings), "etcd://10.0.0.1:2379,[fd00::2]:2380,c:2379/clouds/a");
});

test("user and password may come from the environment, the password from a file", () => {
  const environment = { NATTO_ETCD_USER: "me", NATTO_ETCD_PASSWORD: "secret" };
  const me = { user: "me", password: "secret" };
  assert.deepEqual(etcdSettings("etcd://h", environment, noFile).login, me);
  assert.deepEqual(etcdSettings("etcd://h?user=you", environment, noFile).login, { ...me, user: "you" });
  const file = etcdSettings("etcd://me@h?passwordFile=/f", {}, (path) => `from ${path}\n`);
  assert.deepEqual(file.login, { user: "me", password: "from /f" });
});

test("an address that is wrong is refused with what is wrong, how to write it, and without the password", () => {
  for (const [url, words] of [
    ["etcd://", /found "", which is not HOST or HOST:PORT/],
    ["etcd:h", /not an address of etcd/],
    ["etcd://a,,b", /found ""/],
    ["etcd://a:0", /found "a:0"/],
    ["etcd://a:70000", /found "a:70000"/],
    ["etcd://a,a:2379", /a:2379 is named twice/],
    ["etcd://a/x//y", /empty part/],
    ["etcd://a/%zz", /percent-encoded/],
    ["etcd://a?timeout=5", /unknown parameter "timeout"; known are tls, ca/],
    ["etcd://a?ca=", /ca must have one value/],
    ["etcd://a?ca=/1&ca=/2", /ca must have one value/],
    ["etcd://a?cert=/c", /cert and key belong together/],
    ["etcd://a?tls=false&ca=/c", /tls=false contradicts/],
    ["etcd://a?tls=yes", /found "yes"/],
    ["etcd://a?deadlineMs=1s", /found "1s", allowed are whole numbers/],
    ["etcd://a?deadlineMs=9", /from 10 to 60000/],
    ["etcd://me@a", /user me without a password; set NATTO_ETCD_PASSWORD/],
    ["etcd://:hunter2@a", /a password without a user/],
    ["etcd://me:hunter2@a?nope=1", /unknown parameter/],
  ] as const) {
    assert.throws(
      () => etcdSettings(url, {}, noFile),
      (error) => {
        assert(error instanceof NattoError && error.code === "BadRequest", url);
        assert.match(error.message, words);
        assert.match(error.message, /write it like etcd:/);
        return !error.message.includes("hunter2");
      },
    );
  }
});
