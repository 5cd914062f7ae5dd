import { existsSync, readdirSync } from "node:fs";
import { enterSandbox } from "../dataplane/testing/sandbox.ts";
import { runCommand, runOrThrow } from "../run-command.ts";
import { sortPrefixes } from "./announcements.ts";
import { testRouter } from "./contract.ts";
import { routing } from "./fixtures.ts";

const { state } = enterSandbox();

/** The routes of a table as `ip` tells them to people. */
async function tableLines(table: number): Promise<readonly string[]> {
  const { stdout } = await runCommand(["ip", "route", "show", "table", String(table)]);
  return stdout.split("\n").filter((line) => line !== "");
}

async function prefixesIn(table: number): Promise<readonly string[]> {
  const lines = await tableLines(table);
  const ours = lines.flatMap((line) => /^blackhole (\S+) proto 74/.exec(line)?.[1] ?? []);
  const whole = ours.map((to) => (to === "default" ? "0.0.0.0/0" : to.includes("/") ? to : `${to}/32`));
  return sortPrefixes(whole);
}

testRouter("kernel routes", async () => {
  // A route of somebody else, which must never be touched.
  await runOrThrow("add a route", ["ip", "route", "add", "blackhole", "192.0.2.128/25", "table", "7474"]);
  const foreign = async () => (await tableLines(7474)).filter((line) => !line.includes("proto 74"));
  return {
    stateFolder: state,
    routing: routing({ driver: "kernel" }),
    seen: async () => ({ inside: await prefixesIn(7474), outside: await prefixesIn(7475) }),
    unmoved: async () => (await foreign()).join("\n"),
    disturb: async () => {
      const argv = ["ip", "route", "del", "blackhole", "203.0.113.0/28", "table", "7475"];
      await runOrThrow("remove a route", argv);
    },
    leftovers: async () => [
      ...(await prefixesIn(7474)),
      ...(await prefixesIn(7475)),
      ...(existsSync(state) ? readdirSync(state) : []),
    ],
  };
});
