import assert from "node:assert/strict";
import { test } from "node:test";
import { checksumsValid, parsePacket, TCP_FLAG } from "../packet.ts";
import { ENDPOINT, newBench, REMOTE, segment } from "./example.ts";
import { sessionsOf } from "./state.ts";

const { syn, ack, fin, rst, psh } = TCP_FLAG;

/** What a fresh node answers to a segment. */
function answerTo(flags: number) {
  const node = newBench();
  const question = parsePacket(segment(flags));
  const outcome = node.receive(segment(flags));
  const answer = outcome.packet && parsePacket(outcome.packet);
  assert.deepEqual(sessionsOf(node.state()), [], "a reset begins nothing");
  assert.ok(question.ok && question.packet.transport.kind === "tcp");
  if (!answer) return { outcome, question: question.packet.transport, answer: undefined };
  assert.ok(answer.ok && answer.packet.transport.kind === "tcp" && checksumsValid(outcome.packet!));
  assert.deepEqual([answer.packet.ip.source, answer.packet.ip.destination], [REMOTE, ENDPOINT]);
  return { outcome, question: question.packet.transport, answer: answer.packet.transport };
}

test("the middle of an unknown connection is answered with a reset that the client must believe", () => {
  for (const flags of [ack, ack | psh, ack | fin, syn | ack]) {
    const { outcome, question, answer } = answerTo(flags);
    assert.deepEqual(outcome.verdict, { kind: "transmit" });
    assert.deepEqual(outcome.counters, ["drop_not_syn", "resets_sent"]);
    assert.equal(answer?.flags, rst);
    assert.equal(answer?.sequence, question.acknowledgement, "RFC 5961 takes no other sequence number");
  }
});

test("a segment without ACK is answered with an acknowledging reset", () => {
  const { question, answer } = answerTo(fin);
  assert.equal(answer?.flags, rst | ack);
  assert.equal(answer?.acknowledgement, question.sequence + question.payload.length + 1);
});

test("a reset is never answered", () => {
  for (const flags of [rst, rst | ack]) {
    const { outcome } = answerTo(flags);
    assert.deepEqual(outcome.counters, ["drop_not_syn"]);
    assert.equal(outcome.verdict.kind, "drop");
  }
});

test("the ports and MAC addresses are those of the segment, exchanged", () => {
  const { outcome, question, answer } = answerTo(ack);
  assert.deepEqual(
    [answer?.sourcePort, answer?.destinationPort],
    [question.destinationPort, question.sourcePort],
  );
  const asked = segment(ack);
  assert.deepEqual(outcome.packet?.subarray(0, 6), asked.subarray(6, 12));
  assert.deepEqual(outcome.packet?.subarray(6, 12), asked.subarray(0, 6));
});
