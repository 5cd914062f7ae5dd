import assert from "node:assert/strict";
import { test } from "node:test";
import { factsText } from "./facts.ts";

test("fields are aligned, maps and tables follow under their titles, and long lists are cut short", () => {
  const text = factsText({
    kind: "NatGateway",
    nextInLine: ["a", "b"],
    labels: {},
    ports: Array.from({ length: 10 }, (_, i) => `${i}-${i}`),
    timeouts: { udp: 300, tcpEstablished: 7440 },
    drain: true,
    slots: [
      { owner: "a", portRanges: ["1-2"] },
      { owner: "longer", portRanges: [], note: "x" },
    ],
  });
  assert.equal(
    text,
    `Kind:           NatGateway
Next in line:   a, b
Labels:         none
Ports:          0-0, 1-1, 2-2, 3-3, 4-4, 5-5, 6-6, 7-7 … and 2 more
Drain:          yes
Timeouts:
  udp              300
  tcpEstablished   7440
Slots:
  OWNER    PORT RANGES   NOTE
  a        1-2           -
  longer   none          x
`,
  );
});
