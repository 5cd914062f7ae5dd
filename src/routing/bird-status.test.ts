import assert from "node:assert/strict";
import { test } from "node:test";
import { errorOf, parseAnswer } from "./bird-control.ts";
import { explainSession, readConstant, readPrefixes, readSessions } from "./bird-status.ts";

/** As BIRD 2.0 answers. */
const PROTOCOLS = parseAnswer(`2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     10:19:32.349  
1006-
1002-session_in BGP        ---        up     10:19:33.294  Established   
1006-  BGP state:          Established
     Neighbor address: 10.99.0.2
     Neighbor AS:      64512

1002-session_out BGP        ---        start  10:20:02.949  Connect       Error: BFD session down
1006-  BGP state:          Connect
     Neighbor address: 10.99.2.2
     Last error:       Error: BFD session down
1002-session_off BGP        ---        down   10:20:02.949  
0000 
`);
const ROUTES = parseAnswer(`1007-Table natto_both:
 0.0.0.0/0            unicast [natto_both_inside 10:19:33.925] * (200)
 	via 10.99.2.2 on outside
 203.0.113.0/28       unicast [natto_both_inside 10:19:33.925] * (200)
 	via 10.99.2.2 on outside
                      unicast [natto_both_outside 10:19:33.925] (200)
 	via 10.99.0.2 on inside
0000 
`);

test("the sessions' states and last errors are read from the list of protocols", () => {
  assert.deepEqual(Object.fromEntries(readSessions(PROTOCOLS)), {
    session_in: { state: "Established", lastError: "" },
    session_out: { state: "Connect", lastError: "Error: BFD session down" },
    session_off: { state: "Down", lastError: "" },
  });
});

test("prefixes are read by the protocol that they come from, second routes to a prefix included", () => {
  assert.deepEqual(readPrefixes(ROUTES, "_inside"), ["0.0.0.0/0", "203.0.113.0/28"]);
  assert.deepEqual(readPrefixes(ROUTES, "_outside"), ["203.0.113.0/28"]);
});

test("a constant is read, and an error is told from an answer", () => {
  assert.equal(readConstant(parseAnswer("0023 0123456789abcdef\n")), "0123456789abcdef");
  const refused = parseAnswer("0002-Reading configuration from /x\n8002 /x:3:1 syntax error\n");
  assert.equal(errorOf(refused), "/x:3:1 syntax error");
  assert.equal(errorOf(PROTOCOLS), undefined);
});

test("every trouble of a session comes with something to check", () => {
  const terms = { name: "in", peer: "192.0.2.0", peerAs: 1, localAs: 2, bfd: true, password: undefined };
  const advice: Readonly<Record<string, RegExp>> = {
    "Error: BFD session down": /check the cable, and that 192\.0\.2\.0 has BFD on/,
    "Received: Bad peer AS": /check which AS 192\.0\.2\.0 has, and that peerAs 1 and localAs 2/,
    "Socket: Connection refused":
      /check that BGP runs on 192\.0\.2\.0 and that it has this node .* AS 2 and no password/,
    "Socket: Connection reset by peer": /ended it: check that it has this node/,
    "Socket: No route to host": /check the cable and that an interface/,
    "": /check that 192\.0\.2\.0 answers .*another password are dropped without a word/,
  };
  for (const [lastError, expected] of Object.entries(advice)) {
    const text = explainSession(terms, { state: "Active", lastError });
    assert.match(text, /^BGP session in to 192\.0\.2\.0 AS 1: Active, /);
    assert.match(text, expected);
  }
  assert.match(
    explainSession({ ...terms, password: "x" }, { state: "Connect", lastError: "" }),
    /the same password/,
  );
  assert.match(explainSession(terms, { state: "Down", lastError: "" }), /somebody has disabled it/);
  assert.doesNotMatch(explainSession(terms, { state: "Established", lastError: "" }), /check/);
});
