import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checksumsValid, ICMP_ERRORS, type Ipv4View, PROTOCOL, parseIpv4, parsePacket } from "../packet.ts";
import { scenarioArbitrary } from "./generators.ts";
import { advance, allSteps, begin, type Event, type Play, type Scenario, type Step } from "./scenario.ts";
import {
  type AddressPort,
  COUNTERS,
  type Counter,
  flowKeysOf,
  gatewayOfSource,
  holdsSlot,
  mappingsOf,
  sessionsOf,
  slotOfPublic,
} from "./state.ts";
import { floatKey, isForwarded } from "./static-mappings.ts";
import { VXLAN_PORT } from "./world.ts";

interface Played {
  readonly before: Play;
  readonly after: Play;
  readonly next: Step;
  readonly event: Event;
}

/** Plays random scenarios and shows each of their steps to a check. */
function forAllSteps(check: (played: Played) => void, numRuns = 100): void {
  fc.assert(
    fc.property(scenarioArbitrary(40), (scenario: Scenario) => {
      let play = begin(scenario);
      for (const next of allSteps(scenario.steps, () => play)) {
        const { play: after, event } = advance(play, next);
        check({ before: play, after, next, event });
        play = after;
      }
    }),
    { numRuns },
  );
}

function ipOf(frame: Buffer | undefined) {
  const parsed = frame && parseIpv4(frame);
  return parsed?.ok ? parsed.ip : undefined;
}

/** Counters of what is wrapped for another node. */
const SENT_TO_NODES: readonly Counter[] = ["steered_out", "steered_in", "passed_on"];

test("no packet leaves with an enrolled source address, unless it is wrapped for another node", () => {
  forAllSteps(({ before, event }) => {
    if (event.kind !== "packet" || event.outcome.verdict.kind !== "redirect") return;
    const frame = event.outcome.packet!;
    const ip = ipOf(frame)!;
    const counters = event.outcome.counters;
    if (counters.includes("translated_in")) return;
    if (counters.some((counter) => SENT_TO_NODES.includes(counter))) {
      assert.equal(ip.source, before.config.address);
      assert.ok(ip.protocol === PROTOCOL.udp && frame.readUInt16BE(ip.payloadAt + 2) === VXLAN_PORT);
    } else {
      assert.ok(before.config.addresses.has(ip.source), "what leaves translated has a public source");
      assert.equal(gatewayOfSource(before.config, ip.source), undefined);
    }
  });
});

/** Where a translated outbound packet shows its public port; an error shows it as the quoted packet's destination. */
function publicPortAt(frame: Buffer, ip: Ipv4View): number {
  if (ip.protocol !== PROTOCOL.icmp) return ip.payloadAt;
  if (!ICMP_ERRORS.includes(frame.readUInt8(ip.payloadAt))) return ip.payloadAt + 4;
  const quotedAt = ip.payloadAt + 8;
  const transportAt = quotedAt + (frame.readUInt8(quotedAt) & 0x0f) * 4;
  return transportAt + (frame.readUInt8(quotedAt + 9) === PROTOCOL.icmp ? 4 : 2);
}

test("the outside port of everything that is translated lies in a slot of this node", () => {
  forAllSteps(({ before, event }) => {
    if (event.kind !== "packet" || !event.outcome.counters.includes("translated_out")) return;
    if (event.outcome.counters.includes("hairpinned")) return;
    const parsed = parsePacket(event.outcome.packet!);
    // A damaged TCP header is forwarded too; the port is read where it lies.
    const ip = ipOf(event.outcome.packet)!;
    assert.ok(parsed.ok || ip.protocol === PROTOCOL.tcp);
    if (ip.laterFragment) return; // It has no port.
    const port = event.outcome.packet!.readUInt16BE(publicPortAt(event.outcome.packet!, ip));
    // What has a static mapping needs no slot.
    const { staticMappings } = before.config;
    if (staticMappings.has(floatKey("inbound", ip.source))) return;
    const outside = { address: ip.source, port };
    if ((["tcp", "udp"] as const).some((protocol) => isForwarded(staticMappings, protocol, outside))) return;
    const slot = slotOfPublic(before.config.addresses.get(ip.source)!, { address: ip.source, port });
    assert.ok(slot && holdsSlot(before.config, slot));
  });
});

test("no two live sessions look the same to a remote, and nobody shares the port of an endpoint-independent mapping", () => {
  forAllSteps(({ after }) => {
    const sessions = sessionsOf(after.state);
    const seen = sessions.map((s) => new Map(flowKeysOf(s)).get("inbound"));
    assert.equal(new Set(seen).size, seen.length);
    const named = (protocol: string, mapped: AddressPort) => `${protocol} ${mapped.address}:${mapped.port}`;
    const independent = mappingsOf(after.state).filter(({ remote }) => remote.address === 0);
    const holders = new Map(independent.map((m) => [named(m.protocol, m.public), m.inside]));
    assert.equal(holders.size, independent.length);
    for (const { protocol, inside, public: mapped } of sessions) {
      assert.deepEqual(holders.get(named(protocol, mapped)) ?? inside, inside);
    }
  });
});

test("the tables agree with each other: the entries of each record, as many references as children, never more than there is room for", () => {
  forAllSteps(({ after: { config, state } }) => {
    assert.ok(state.records.size <= config.maxRecords);
    const references = new Map<number, number>();
    let entries = 0;
    for (const [index, record] of state.records) {
      const keys = flowKeysOf(record);
      entries += keys.length;
      for (const [direction, key] of keys) {
        assert.deepEqual(state.flows.get(key), { record: index, direction });
      }
      if (record.kind === "mapping" || record.parent === undefined) continue;
      references.set(record.parent, (references.get(record.parent) ?? 0) + 1);
    }
    assert.equal(state.flows.size, entries);
    for (const [index, record] of state.records) {
      if (record.kind === "session") continue;
      assert.equal(record.references, references.get(index) ?? 0);
      const rests = record.kind === "mapping" && record.restingSince !== undefined;
      assert.equal(rests, record.references === 0);
    }
  });
});

test("the checksums of everything that leaves are right if they were right when it came", () => {
  forAllSteps(({ event }) => {
    if (event.kind !== "packet" || !event.outcome.packet || !checksumsValid(event.arrival.frame)) return;
    const { packet, counters } = event.outcome;
    if (!counters.includes("unwrapped")) return assert.ok(checksumsValid(packet));
    // What was in the wrap need not have been right.
    const inner = event.arrival.frame.subarray(50);
    if (checksumsValid(inner)) assert.ok(checksumsValid(packet));
  });
});

const ANSWERS: readonly Counter[] = ["resets_sent", "too_big_sent", "prohibited_sent"];

test("every packet that goes astray is counted once, and only as a drop when it is one", () => {
  forAllSteps(({ event }) => {
    if (event.kind !== "packet") return;
    const { verdict, counters, packet } = event.outcome;
    const drops = counters.filter((counter) => counter.startsWith("drop_"));
    // What is answered is dropped, though a packet is sent.
    if (verdict.kind === "drop") assert.deepEqual(drops, [verdict.counter]);
    else assert.equal(drops.length, counters.filter((counter) => ANSWERS.includes(counter)).length);
    assert.equal(packet === undefined, verdict.kind === "drop" || verdict.kind === "kept");
    const endings: readonly Counter[] = ["translated_out", "translated_in", ...SENT_TO_NODES];
    // A hairpin has come half of its way when it is translated outward.
    const ways = counters.includes("hairpinned") ? -1 : 0;
    const ended = ways + counters.filter((counter) => endings.includes(counter)).length;
    assert.ok(verdict.kind === "redirect" ? ended === 1 : ended <= 1);
  });
});

test("only packets of sessions change the session table", () => {
  forAllSteps(({ before, after, event }) => {
    if (event.kind !== "packet") return;
    const { counters } = event.outcome;
    const mayChange: readonly Counter[] = [
      "translated_out",
      "translated_in",
      "drop_no_route",
      "drop_too_big",
    ];
    if (!counters.some((counter) => mayChange.includes(counter))) {
      for (const table of ["records", "flows", "endpoints"] as const) {
        assert.equal(after.state[table], before.state[table]);
      }
    }
    const grown = after.state.records.size - before.state.records.size;
    if (!counters.includes("sessions_created")) assert.equal(grown, 0);
  });
});

test("a packet is never changed in place", () => {
  forAllSteps(({ before, next }) => {
    if (next.kind !== "packet") return;
    const copy = Buffer.from(next.frame);
    advance(before, next);
    assert.deepEqual(next.frame, copy);
  }, 50);
});

test("the scenarios reach every counter and every verdict", () => {
  const counted = new Set<string>();
  const verdicts = new Set<string>();
  const scenarios = fc.sample(scenarioArbitrary(60), { numRuns: 200, seed: 1 });
  for (const scenario of scenarios) {
    let play = begin(scenario);
    for (const next of allSteps(scenario.steps, () => play)) {
      const { play: after, event } = advance(play, next);
      play = after;
      if (event.kind === "swept" && event.expired > 0) counted.add("sessions_expired");
      if (event.kind === "swept" && event.lostFragments > 0) counted.add("fragments_expired");
      if (event.kind !== "packet") continue;
      verdicts.add(event.outcome.verdict.kind);
      for (const counter of event.outcome.counters) counted.add(counter);
    }
  }
  // The model keeps no log, so it loses nothing of one; and no scenario has as many fragmented datagrams as a share takes.
  const beyond: readonly Counter[] = ["log_lost", "drop_fragment_limit"];
  assert.deepEqual([...counted].sort(), COUNTERS.filter((counter) => !beyond.includes(counter)).sort());
  assert.deepEqual([...verdicts].sort(), ["circulate", "drop", "kept", "kernel", "redirect", "return"]);
});
