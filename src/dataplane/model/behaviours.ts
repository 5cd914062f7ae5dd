/** fast-check arbitraries for the behaviour of gateways: all that may be declared, with limits and times that scenarios meet. */
import fc from "fast-check";
import {
  DEFAULT_BEHAVIOUR,
  DEPENDENCES,
  type Dependence,
  type NatBehaviour,
  NO_LIMITS,
} from "../../model/nat-behaviour.ts";

/**
 * Seconds. Time passes in steps of 10 s in scenarios, so that a session is never near the end of its timeout: the program's clock
 * is coarse, and goes on while a test runs.
 */
const TIMEOUTS = { tcpEstablished: 125, tcpHalfOpen: 45, tcpTransitory: 25, udp: 35, icmp: 15 };

function dependences(): fc.Arbitrary<{ readonly mapping: Dependence; readonly filtering: Dependence }> {
  return fc
    .record({ mapping: fc.constantFrom(...DEPENDENCES), narrower: fc.nat(2) })
    .map(({ mapping, narrower }) => ({
      mapping,
      filtering: DEPENDENCES[Math.min(2, DEPENDENCES.indexOf(mapping) + narrower)]!,
    }));
}

/** Low, so that they are met. A burst is paid off within the smallest step of time, so that the program's own clock changes nothing. */
function limits(): fc.Arbitrary<NatBehaviour["limits"]> {
  const some = fc.record({
    portsPerEndpoint: fc.constantFrom(0, 3),
    sessionsPerEndpoint: fc.constantFrom(0, 5),
    newSessionsPerSecond: fc.constantFrom(0, 1),
    newSessionsBurst: fc.constantFrom(1, 7),
  });
  return fc.oneof({ weight: 3, arbitrary: fc.constant(NO_LIMITS) }, { weight: 2, arbitrary: some });
}

export function behaviourArbitrary(): fc.Arbitrary<NatBehaviour> {
  return fc
    .record({
      udp: dependences(),
      tcp: dependences(),
      holdDownSeconds: fc.constantFrom(0, 15, 55),
      failFast: fc.record({ tcpReset: fc.boolean(), icmpProhibited: fc.boolean() }),
      refreshed: fc.boolean(),
      limits: limits(),
      mssClamp: fc.constantFrom(undefined, 600, 1400, "PathMtu" as const),
    })
    .map(({ udp, tcp, holdDownSeconds, refreshed, mssClamp, ...rest }) => ({
      ...DEFAULT_BEHAVIOUR,
      mapping: { udp: udp.mapping, tcp: tcp.mapping },
      filtering: { udp: udp.filtering, tcp: tcp.filtering },
      timeouts: TIMEOUTS,
      ...rest,
      ...(mssClamp === undefined ? {} : { mssClamp }),
      inboundRefresh: { udp: refreshed },
      holdDownSeconds,
    }));
}
