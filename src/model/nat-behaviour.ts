/**
 * How a gateway behaves as a NAT, in the words of the RFCs (4787 for UDP, 5382 for TCP, 5508 for ICMP, 6888 for shared addresses, 7857 for their
 * updates): what its owner may choose, and the defaults.
 */
import { z } from "zod";
import { integerField } from "./fields.ts";

/**
 * What a mapping or a filter depends on (RFC 4787, sections 4.1 and 5), the loosest first: nothing of the remote, its address, or its address and
 * port.
 */
export const DEPENDENCES = ["EndpointIndependent", "AddressDependent", "AddressAndPortDependent"] as const;
export type Dependence = (typeof DEPENDENCES)[number];

const dependenceField = z.enum(DEPENDENCES);

/** Which flows of an endpoint's port share a public port. */
export const mappingSchema = z.strictObject({
  udp: dependenceField.default("EndpointIndependent"),
  tcp: dependenceField.default("AddressAndPortDependent"),
});

const filteringSchema = z.strictObject({ udp: dependenceField, tcp: dependenceField });

/** Seconds without a packet after which a session ends. Defaults: RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2. */
const timeoutField = integerField(1, 604_800);

export const timeoutsSchema = z.strictObject({
  /** Both sides have shown a SYN, and neither both a FIN nor one a reset. */
  tcpEstablished: timeoutField.default(7440),
  /** Not both sides have shown a SYN yet. Separate from the next by RFC 7857, section 2.1. */
  tcpHalfOpen: timeoutField.default(240),
  /** Closed by both sides, or reset. */
  tcpTransitory: timeoutField.default(240),
  udp: timeoutField.default(300),
  icmp: timeoutField.default(60),
});

export type Timeouts = z.output<typeof timeoutsSchema>;

/** Per inside address; 0 = no limit. RFC 6888 REQ-4 and REQ-5. */
export const limitsSchema = z.strictObject({
  /** Public ports at the same time; a port counts once for each remote to which it is bound. */
  portsPerEndpoint: integerField(0, 1_000_000).default(0),
  /** Flows at the same time, so that one endpoint cannot fill the session table. */
  sessionsPerEndpoint: integerField(0, 10_000_000).default(16_384),
  newSessionsPerSecond: integerField(0, 1_000_000).default(1000),
  /** How many more may begin at once after a quiet time. */
  newSessionsBurst: integerField(1, 1_000_000).default(4000),
});

/** Limits that nothing meets. */
export const NO_LIMITS: z.output<typeof limitsSchema> = {
  portsPerEndpoint: 0,
  sessionsPerEndpoint: 0,
  newSessionsPerSecond: 0,
  newSessionsBurst: 1,
};

/** How soon a client learns that its packet was dropped. */
export const failFastSchema = z.strictObject({
  /** A TCP segment of a connection that nobody knows is answered with a reset toward the inside (RFC 9293, section 3.5.2). */
  tcpReset: z.boolean().default(true),
  /**
   * A new flow that is refused (no port, a limit, a full table) is answered with ICMP "administratively prohibited" (RFC 5508 REQ-8). Most clients
   * then give up at once instead of trying again a second later.
   */
  icmpProhibited: z.boolean().default(false),
});

/** Inbound packets keep a session of TCP and ICMP alive; of UDP only if asked (RFC 4787 REQ-6). */
export const inboundRefreshSchema = z.strictObject({ udp: z.boolean().default(false) });

const MSS_CLAMP = "must be a whole number of bytes from 536 to 65495, or PathMtu; choose one of the two";
/** The MSS that TCP may announce at most: in bytes, or what the route toward its receiver takes. */
const mssClampField = z
  .union([z.number(), z.literal("PathMtu")], MSS_CLAMP)
  .refine((mss) => mss === "PathMtu" || (Number.isInteger(mss) && mss >= 536 && mss <= 65_495), MSS_CLAMP);

export const HOLD_DOWN_FIELD = integerField(0, 86_400);
/** RFC 6888 REQ-8. */
export const DEFAULT_HOLD_DOWN_SECONDS = 120;

/** The fields of a NatGateway's spec that say how it behaves. */
export const behaviourFields = {
  mapping: mappingSchema.prefault({}),
  /** Whose packets may come in through a mapping. What is not given follows from the mapping: see `effectiveFiltering`. */
  filtering: filteringSchema.partial().default({}),
  timeouts: timeoutsSchema.prefault({}),
  inboundRefresh: inboundRefreshSchema.prefault({}),
  limits: limitsSchema.prefault({}),
  failFast: failFastSchema.prefault({}),
  mssClamp: mssClampField.optional(),
};

/** The behaviour in full, as nodes are told. */
export const natBehaviourSchema = z.strictObject({
  ...behaviourFields,
  filtering: filteringSchema,
  /** How long a port that took packets from anybody rests before another endpoint gets it. */
  holdDownSeconds: HOLD_DOWN_FIELD,
});

export type NatBehaviour = z.output<typeof natBehaviourSchema>;

interface Declared extends Omit<NatBehaviour, "filtering" | "holdDownSeconds"> {
  readonly filtering: { readonly [protocol in "udp" | "tcp"]?: Dependence | undefined };
  readonly ports: { readonly holdDownSeconds: number };
}

/** From a NatGateway's spec to its behaviour in full. */
export function natBehaviour(spec: Declared): NatBehaviour {
  const { mapping, timeouts, inboundRefresh, limits, failFast, mssClamp } = spec;
  return {
    mapping,
    filtering: effectiveFiltering(spec),
    timeouts,
    inboundRefresh,
    limits,
    failFast,
    holdDownSeconds: spec.ports.holdDownSeconds,
    ...(mssClamp === undefined ? {} : { mssClamp }),
  };
}

/**
 * The filtering where none is given: address-dependent, which RFC 4787 REQ-8 and RFC 5382 REQ-3 recommend where security counts, unless the mapping
 * is narrower already.
 */
export function effectiveFiltering({
  mapping,
  filtering,
}: Pick<Declared, "mapping" | "filtering">): NatBehaviour["filtering"] {
  const of = (protocol: "udp" | "tcp") =>
    filtering[protocol] ?? narrower(mapping[protocol], "AddressDependent");
  return { udp: of("udp"), tcp: of("tcp") };
}

function narrower(a: Dependence, b: Dependence): Dependence {
  return DEPENDENCES.indexOf(a) > DEPENDENCES.indexOf(b) ? a : b;
}

/**
 * The protocols whose filter would let in what the mapping does not cover: the endpoint's answer to it would leave from another port than the one
 * that was asked.
 */
export function looserThanMapping({
  mapping,
  filtering,
}: Pick<Declared, "mapping" | "filtering">): readonly ("udp" | "tcp")[] {
  return (["udp", "tcp"] as const).filter((protocol) => {
    const filter = filtering[protocol];
    return filter !== undefined && narrower(filter, mapping[protocol]) !== filter;
  });
}

/** How a gateway behaves of which nothing is said. */
export const DEFAULT_BEHAVIOUR: NatBehaviour = natBehaviour({
  ...z.strictObject(behaviourFields).parse({}),
  ports: { holdDownSeconds: DEFAULT_HOLD_DOWN_SECONDS },
});
