/**
 * The XDP program against the reference model: the same scenarios, packet by packet. Both follow docs/dataplane.md and neither was
 * written from the other. NATTO_PACKETS sets how many random packets are compared (default 100,000); a failure prints the
 * seed, and NATTO_SEED replays it.
 */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import fc from "fast-check";
import { formatAddress } from "../model/ipv4.ts";
import { EXAMPLE, segment } from "./model/example.ts";
import { scenarioArbitrary } from "./model/generators.ts";
import { advance, allSteps, begin, type Event, type Scenario, type Step } from "./model/scenario.ts";
import { type Counter, type Session, type State, sessionsOf } from "./model/state.ts";
import { TCP_FLAG } from "./packet.ts";
import { layOutNetwork, loadProgram, type ProgramUnderTest } from "./testing/program-under-test.ts";
import { enterSandbox, type Sandbox } from "./testing/sandbox.ts";

const PACKETS = Number(process.env.NATTO_PACKETS ?? 100_000);
const SEED = process.env.NATTO_SEED === undefined ? {} : { seed: Number(process.env.NATTO_SEED) };
const PROTOCOLS = { icmp: 1, tcp: 6, udp: 17 };

/** The program, loaded once for each size of the session table that the worlds have. */
const programs = new Map<number, ProgramUnderTest>();
let sandbox: Sandbox;

before(() => {
  sandbox = enterSandbox();
  layOutNetwork();
});

function programFor(maxRecords: number): ProgramUnderTest {
  const program = programs.get(maxRecords) ?? loadProgram(sandbox, maxRecords);
  programs.set(maxRecords, program);
  return program;
}

function sessionText({ protocol, inside, public: outside, remote }: Session): string {
  const ends = [inside, outside, remote].map(({ address, port }) => `${formatAddress(address)}:${port}`);
  return [PROTOCOLS[protocol], ...ends].join(" ");
}

const sessionTexts = (state: State) => sessionsOf(state).map(sessionText).sort();

function tally(counters: readonly Counter[]): Partial<Record<Counter, number>> {
  const counts: Partial<Record<Counter, number>> = {};
  for (const counter of counters) counts[counter] = (counts[counter] ?? 0) + 1;
  return counts;
}

const VERDICT_OF = {
  drop: "drop",
  kept: "drop",
  kernel: "kernel",
  redirect: "redirect",
  return: "redirect",
  circulate: "redirect",
} as const;

/** What the model says about an arrival, in the form in which the program's answer is read. */
function expected({ outcome }: Extract<Event, { kind: "packet" }>) {
  return {
    verdict: VERDICT_OF[outcome.verdict.kind],
    packet: outcome.packet?.toString("hex"),
    counters: tally(outcome.counters),
  };
}

function actual(program: ProgramUnderTest, { arrival }: Extract<Event, { kind: "packet" }>) {
  const { verdict, packet, counters } = program.run(arrival.role, arrival.frame);
  return { verdict, packet: verdict === "drop" ? undefined : packet.toString("hex"), counters };
}

/** What only happens in slots of a gateway, so that it is counted by gateway too. */
const COUNTED_BY_GATEWAY = ["sessions_created", "drop_no_port", "drop_not_syn"] as const;

/** Plays a scenario in both; returns the number of packets. */
function compare(scenario: Scenario): number {
  const program = programFor(scenario.world.maxRecords);
  program.reset(scenario.world, scenario.node);
  let play = begin(scenario);
  let packets = 0;
  const counted = new Map<Counter, number>();
  let index = 0;
  for (const step of allSteps(scenario.steps, () => play)) {
    const next = advance(play, step);
    play = next.play;
    const { event } = next;
    const where = `step ${++index} (${step.kind})`;
    switch (event.kind) {
      case "packet":
        packets++;
        for (const counter of event.outcome.counters) counted.set(counter, (counted.get(counter) ?? 0) + 1);
        assert.deepEqual(
          actual(program, event),
          expected(event),
          `${where}: ${event.arrival.frame.toString("hex")}`,
        );
        break;
      case "swept":
        assert.deepEqual(
          program.sweep(play.now),
          { expired: event.expired, lostFragments: event.lostFragments },
          `${where}: what ended`,
        );
        break;
      case "moved":
        program.reprogram(play.world, play.node);
        break;
      case "confirmed":
        program.confirm();
        break;
      case "nothing":
        break;
    }
  }
  assert.deepEqual(program.sessions(), sessionTexts(play.state), "sessions at the end");
  const byGateway = program.countedByGateway();
  for (const name of COUNTED_BY_GATEWAY) {
    assert.equal(byGateway[name] ?? 0, counted.get(name) ?? 0, `${name}, summed over the gateways`);
  }
  return packets;
}

test(`the program does with ${PACKETS} random packets, in sequences, what the model does`, () => {
  const seed = "seed" in SEED ? SEED.seed : Date.now() % 2 ** 31;
  let packets = 0;
  for (let round = 0; packets < PACKETS; round++) {
    fc.assert(
      fc.property(scenarioArbitrary(120), (scenario) => {
        packets += compare(scenario);
      }),
      { numRuns: 100, seed: seed + round },
    );
  }
  assert.ok(packets >= PACKETS);
});

test("in a slot that fills, empties in part and fills again, the program finds the ports that the model finds", () => {
  const flow = (sourcePort: number): Step => ({
    kind: "packet",
    role: "inside",
    frame: segment(TCP_FLAG.syn, { sourcePort }),
  });
  // Half-open connections end after four minutes: each round some ports of those before are free again. In the end more are wanted than there are.
  const rounds = Array.from({ length: 12 }, (_, round): readonly Step[] => [
    ...Array.from({ length: 4 + 2 * round }, (_, i) => flow(2000 + 100 * round + ((i * 7) % 40))),
    { kind: "advance", milliseconds: 70_000 },
  ]);
  const steps = [...rounds.flat(), ...Array.from({ length: 80 }, (_, i) => flow(30_000 + i))];
  assert.equal(compare({ world: EXAMPLE, node: 0, steps }), steps.length - rounds.length);
});
