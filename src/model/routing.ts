/**
 * Routing: what the nodes of a cell announce to the fabric, and to whom. Declared on the Cell for all its nodes; a GatewayNode may change
 * sessions for itself. The planner puts the two together and writes the result into the NodeConfig.
 */
import { z } from "zod";
import type { FieldError } from "../errors.ts";
import { addressField, cidrField, integerField, nameField } from "./fields.ts";

/** A number of an autonomous system (RFC 6793), without the two that are reserved for other uses (RFC 7607, RFC 7300). */
const asField = integerField(1, 4_294_967_294);

const communityField = z
  .string()
  .regex(
    /^\d{1,10}:\d{1,10}(:\d{1,10})?$/,
    "is not a community; write a standard one like 64512:100 or a large one like 4200000001:1:100",
  )
  .refine((text) => {
    const parts = text.split(":").map(Number);
    return parts.every((part) => part <= (parts.length === 2 ? 65_535 : 4_294_967_295));
  }, "has a part that is too large; a standard community has two of at most 65535, a large one three of at most 4294967295");

/** A path on the node. In BIRD's configuration and in a shell it must be one plain word. */
const nodeFileField = z
  .string()
  .regex(
    /^\/[A-Za-z0-9._/-]{1,254}$/,
    "is not a path; give an absolute one of letters, digits, '.', '_', '-' and '/'",
  );

export const SIDES = ["inside", "outside", "both"] as const;
/** Toward the endpoints, toward the outside, or one router that is both. */
export type Side = (typeof SIDES)[number];

/** The sides to which something is announced. */
export const DECLARED_SIDES = ["inside", "outside"] as const;
export type DeclaredSide = (typeof DECLARED_SIDES)[number];

/** Whether what is of the first side is of the second too. */
export function servesSide(side: Side, what: DeclaredSide): boolean {
  return side === what || side === "both";
}

/** Short enough to be part of a symbol of BIRD. */
const sessionNameField = nameField.max(32, "is longer than 32 characters; shorten it");

const sessionParts = {
  side: z.enum(SIDES),
  /** The router. Left out: the other end of the /31 or /30 that the node's interface of that side is in. */
  peer: addressField.optional(),
  peerAs: asField,
  /** Of this session alone, instead of the cell's. */
  localAs: asField.optional(),
  /** Whether the session is watched by BFD (RFC 5880), with the cell's times. */
  bfd: z.boolean(),
  /** A file on the node whose first line is the session's password (RFC 2385). The password itself is never in the store. */
  passwordFile: nodeFileField.optional(),
  /** Multi-exit discriminator of what is announced: of several ways into the same neighbour AS, the least is preferred. */
  med: integerField(0, 4_294_967_295).optional(),
  /** Communities (RFC 1997) and large communities (RFC 8092) of what is announced. */
  communities: z.array(communityField).max(32, "has more than 32 communities; leave some out"),
  /** Seconds without a message after which the session is given up (RFC 4271). BFD is much faster. */
  holdSeconds: integerField(3, 65_535),
};

const sessionSchema = z.strictObject({
  name: sessionNameField,
  ...sessionParts,
  bfd: sessionParts.bfd.default(true),
  communities: sessionParts.communities.default([]),
  holdSeconds: sessionParts.holdSeconds.default(9),
});

export type RoutingSession = z.output<typeof sessionSchema>;

const commonParts = {
  /** Announced inside: the destinations for which endpoints are sent to the nodes. */
  insidePrefixes: z
    .array(cidrField)
    .min(1, "is empty; list at least one CIDR block, or leave the field out for 0.0.0.0/0")
    .max(256, "has more than 256 blocks; merge adjacent ones")
    .default(["0.0.0.0/0"]),
  /** Announced outside as a whole when at least one address in it is used. Other addresses are announced one by one, merged where they fill a block. */
  publicAggregates: z.array(cidrField).max(256, "has more than 256 blocks; merge adjacent ones").default([]),
};

const bfdSchema = z.strictObject({
  /** Milliseconds between two packets. */
  intervalMs: integerField(10, 10_000).default(100),
  /** A neighbour is lost when so many packets in a row did not come. */
  multiplier: integerField(2, 255).default(3),
});

const sessionList = z
  .array(sessionSchema)
  .min(1, "is empty; declare the session with at least one router")
  .max(16, "has more than 16 sessions; a node needs one for each router it is connected to")
  .superRefine((sessions, ctx) => {
    for (const [i, { name, peer }] of sessions.entries()) {
      const earlier = sessions.slice(0, i);
      if (earlier.some((s) => s.name === name)) {
        const message = "is the name of an earlier session; give each its own";
        ctx.addIssue({ code: "custom", message, path: [i, "name"], input: name });
      }
      if (peer !== undefined && earlier.some((s) => s.peer === peer)) {
        const message =
          "is the peer of an earlier session; have one session with a router, with side 'both' if it is both";
        ctx.addIssue({ code: "custom", message, path: [i, "peer"], input: peer });
      }
    }
  });

const birdParts = {
  driver: z.literal("bird"),
  localAs: asField,
  bfd: bfdSchema.default({ intervalMs: 100, multiplier: 3 }),
  sessions: sessionList,
  ...commonParts,
};

/** Tables 253 to 255 are the kernel's own. */
const tableField = integerField(1, 2_147_483_647).refine(
  (n) => n < 253 || n > 255,
  "is one of the kernel's own tables 253 to 255; choose another",
);

const kernelParts = {
  driver: z.literal("kernel"),
  /** Routing tables that another daemon exports: nobody forwards by them. */
  tables: z
    .strictObject({ inside: tableField.default(7474), outside: tableField.default(7475) })
    .refine(
      ({ inside, outside }) => inside !== outside,
      "has the same table twice; a daemon tells the sides apart by the table",
    )
    .default({ inside: 7474, outside: 7475 }),
  /** The mark of Natto's routes (rtnetlink(7), rtm_protocol). */
  protocol: integerField(5, 255).default(74),
  ...commonParts,
};

const DRIVER_RULE =
  "is not a routing; give driver 'bird' (Natto runs BIRD on each node) or 'kernel' (routes for a daemon of your own)";

/** `Cell.spec.routing`. */
export const cellRoutingSchema = z.discriminatedUnion(
  "driver",
  [z.strictObject(birdParts), z.strictObject(kernelParts)],
  DRIVER_RULE,
);

export type CellRouting = z.output<typeof cellRoutingSchema>;

/** `GatewayNode.spec.routing`. */
export const nodeRoutingSchema = z.strictObject({
  /** False: the node announces nothing, and so gets no traffic, whatever else is declared. */
  announce: z.boolean().default(true),
  localAs: asField.optional(),
  /** Changes to the cell's session of the same name; a name that the cell does not have is a session of this node alone. */
  sessions: z
    .array(
      z
        .strictObject({ name: sessionNameField, ...sessionParts })
        .partial()
        .required({ name: true }),
    )
    .max(16, "has more than 16 sessions; a node needs one for each router it is connected to")
    .default([]),
});

export type NodeRouting = z.output<typeof nodeRoutingSchema>;

const resolvedParts = {
  /** False: announce nothing. */
  announce: z.boolean(),
  /** What of the declaration could not be obeyed, for people. */
  problems: z.array(z.string()),
};

/** `NodeConfig.spec.routing`: the cell's and the node's declaration put together. */
export const routingConfigSchema = z.discriminatedUnion("driver", [
  z.strictObject({ ...birdParts, ...resolvedParts }),
  z.strictObject({ ...kernelParts, ...resolvedParts }),
]);

export type RoutingConfig = z.output<typeof routingConfigSchema>;
export type BirdRouting = Extract<RoutingConfig, { readonly driver: "bird" }>;
export type KernelRouting = Extract<RoutingConfig, { readonly driver: "kernel" }>;

/** What a node's own declaration lacks or contradicts, given that of its cell. Paths are those of a GatewayNode. */
export function nodeRoutingFaults(
  cell: CellRouting | undefined,
  node: NodeRouting | undefined,
): FieldError[] {
  const overrides = node?.sessions ?? [];
  if (overrides.length === 0) return [];
  if (cell?.driver !== "bird") {
    const message = cell ? `the cell's driver is ${cell.driver}` : "the cell declares no routing";
    const remedy = "declare spec.routing with driver bird on the Cell first, or remove the sessions";
    return [{ field: "spec.routing.sessions", message, remedy }];
  }
  return overrides.flatMap((override, i) => {
    const merged = mergeSession(cell, override);
    const lacking = (["side", "peerAs"] as const).filter((field) => merged[field] === undefined);
    const names = cell.sessions.map((s) => s.name).join(", ");
    return lacking.map((field) => ({
      field: `spec.routing.sessions[${i}].${field}`,
      message: `is required, since the cell has no session ${override.name} (it has ${names})`,
      remedy: "give it, or use the name of a session of the cell",
    }));
  });
}

type SessionOverride = NodeRouting["sessions"][number];

function mergeSession(
  cell: Extract<CellRouting, { driver: "bird" }>,
  override: SessionOverride,
): SessionOverride {
  const base = cell.sessions.find((session) => session.name === override.name);
  return { ...base, ...override };
}

/** Puts the declarations of a cell and of one of its nodes together; undefined when the cell declares no routing. Pure. */
export function resolveRouting(
  cell: CellRouting | undefined,
  node: NodeRouting | undefined,
): RoutingConfig | undefined {
  if (!cell) return undefined;
  const problems = nodeRoutingFaults(cell, node).map((f) => `${f.field} ${f.message}; ${f.remedy}`);
  const announce = node?.announce ?? true;
  if (cell.driver === "kernel") return { ...cell, announce, problems };
  const overrides = new Map(node?.sessions.map((override) => [override.name, override]));
  const changed = cell.sessions.map((session) => mergeSession(cell, overrides.get(session.name) ?? session));
  const added = [...overrides.values()].filter((o) => !cell.sessions.some((s) => s.name === o.name));
  const sessions: RoutingSession[] = [];
  for (const draft of [...changed, ...added]) {
    const parsed = sessionSchema.safeParse(draft);
    const { data } = parsed;
    const twin = data && sessions.find((s) => s.peer !== undefined && s.peer === data.peer);
    if (twin) problems.push(`session ${data.name} has the peer of session ${twin.name}; remove one of them`);
    else if (data) sessions.push(data);
  }
  return { ...cell, localAs: node?.localAs ?? cell.localAs, sessions, announce, problems };
}
