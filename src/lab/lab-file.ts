/** The lab file: a little cloud as a person declares it. Its fields are explained in docs/lab.md. */
import { readFile } from "node:fs/promises";
import { parseDocument } from "yaml";
import { z } from "zod";
import { NattoError } from "../errors.ts";
import {
  addressField,
  cidrField,
  integerField,
  interfaceField,
  nameField,
  portField,
} from "../model/fields.ts";
import { parseAddress, parseCidr } from "../model/ipv4.ts";
import { API_VERSION } from "../model/meta.ts";
import { checkSchema } from "../model/validate.ts";

/**
 * - `router`: a router of the fabric; forwards, spreads flows by layer-4 ECMP, notices a cut link at once.
 * - `node`: a machine of the NAT fleet; forwards, has a state folder and a BPF file system.
 * - `endpoint`: a machine of a tenant, inside.
 * - `server`: a machine outside.
 * - `control`: where the control plane runs; carries no traffic.
 */
export const HOST_ROLES = ["router", "node", "endpoint", "server", "control"] as const;
export type HostRole = (typeof HOST_ROLES)[number];

/** Without '-', so that the network namespaces `natto-LAB-HOST` of two labs can never have the same name. */
export const LAB_NAME = /^[a-z0-9]{1,32}$/;
export const LAB_NAME_RULE = "is not a lab's name; use 1 to 32 lower-case letters and digits";
const labNameField = z.string().regex(LAB_NAME, LAB_NAME_RULE);

/** An address with the length of its network, such as 10.1.0.0/31: unlike a CIDR block it may have host bits. */
const interfaceAddressField = z.string().refine(
  (text) => {
    const [address = "", bits = "", ...rest] = text.split("/");
    return (
      rest.length === 0 && parseAddress(address) !== undefined && /^\d{1,2}$/.test(bits) && Number(bits) <= 32
    );
  },
  { message: "is not an address with its prefix length; write it like 10.1.0.0/31" },
);

const mtuField = integerField(576, 9000);

const SYSCTL_VALUE = "is not the value of a sysctl; give a number or words without special characters";

const sysctlsField = z
  .record(
    z
      .string()
      .regex(
        /^net\.[A-Za-z0-9_.-]+$/,
        "is not a sysctl of a network namespace; use one that begins with 'net.'",
      ),
    z.union([z.number(), z.string().regex(/^[\w.:, \t-]+$/, SYSCTL_VALUE)], SYSCTL_VALUE),
  )
  .default({});

const processField = z.strictObject({
  name: nameField,
  /** Run without a shell. `$(HOST)` and the like are filled in, see docs/lab.md. */
  command: z.array(z.string()).min(1, "is empty; give the program and its arguments"),
  env: z.record(z.string(), z.string()).default({}),
  /** Files that are written into the host's state folder before: name → content, in which `$(HOST)` and the like are filled in too. */
  files: z
    .record(
      z.string().regex(/^[\w-][\w.-]*$/, "is not a file's name; use letters, digits, '.', '_' and '-'"),
      z.string(),
    )
    .default({}),
  /** A lab never restarts what has died: that it died is what its user wants to see. */
  restart: z.literal("never").default("never"),
  /** All that is given must hold before `up` goes on. */
  ready: z
    .strictObject({
      tcp: portField.optional(),
      udp: portField.optional(),
      /** Text that must appear in the output. */
      log: z.string().min(1).optional(),
      /** A command in the host that must exit with 0. */
      command: z.array(z.string()).min(1).optional(),
      timeoutSeconds: integerField(1, 300).default(15),
    })
    .optional(),
});

const routeField = z.strictObject({
  to: z.string().refine((text) => text === "default" || parseCidr(text).ok, {
    message: "is not a destination; write 'default' or a CIDR block without host bits, like 192.0.2.0/24",
  }),
  /**
   * Next hops; several make an ECMP route. Each an own interface (the other end of its link), a pattern such as `node*`, or an address.
   * None: what no longer route matches is discarded (a router needs that for what it announces as a whole).
   */
  via: z.array(z.string().min(1)).default([]),
});

const hostParts = {
  role: z.enum(HOST_ROLES),
  sysctls: sysctlsField,
  routes: z.array(routeField).default([]),
  processes: z.array(processField).default([]),
};

const hostField = z.strictObject({
  name: nameField,
  ...hostParts,
  /** On the loopback interface. */
  addresses: z.array(addressField).default([]),
});

const linkEndField = z.strictObject({
  host: nameField,
  interface: interfaceField,
  address: interfaceAddressField.optional(),
});

const linkField = z.strictObject({ a: linkEndField, b: linkEndField, mtu: mtuField.default(1500) });

const groupField = z.strictObject({
  /** Hosts are called by the prefix and a number from 1. */
  prefix: nameField,
  count: integerField(1, 1000),
  ...hostParts,
  /** Host number i has the i-th address after the block's first on its loopback interface. */
  addresses: cidrField.optional(),
  /** One link of each host to a router, where the interface bears the host's name. */
  links: z.array(
    z.strictObject({
      interface: interfaceField,
      to: nameField,
      /** Without `gateway` each link has a /31 of it; with it, each host has an address of it. */
      subnet: cidrField,
      /** The router's address, the same on all links: hosts seem to be in one subnet, but all is routed. */
      gateway: addressField.optional(),
      /** Of the first host, counted from the subnet's first address; only with `gateway`. */
      first: integerField(1, 65535).default(11),
      mtu: mtuField.default(1500),
      /** Gives the router a route to the host's `addresses` by this link. (In place of a routing protocol.) */
      announce: z.boolean().default(false),
    }),
  ),
});

const labSpec = z.strictObject({
  hosts: z.array(hostField).default([]),
  links: z.array(linkField).default([]),
  groups: z.array(groupField).default([]),
  /**
   * A network apart from the fabric, by which nodes reach the control plane: a bridge in `host`, which has its first address. Other control
   * hosts are attached to it too.
   */
  management: z
    .strictObject({
      host: nameField,
      subnet: cidrField,
      /** Whether nodes cannot reach nodes by it. Consul's agents must be able to. */
      isolated: z.boolean().default(true),
    })
    .optional(),
});

export const labFileSchema = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Lab"),
  metadata: z.strictObject({ name: labNameField }),
  spec: labSpec,
});

/** A lab with all defaults filled in. */
export type LabFile = z.output<typeof labFileSchema>;
/** A lab as it is written down; what has a default may be left out. */
export type LabInput = z.input<typeof labFileSchema>;
export type LabProcessSpec = z.output<typeof processField>;
export type LabRouteSpec = z.output<typeof routeField>;
export type LabGroup = z.output<typeof groupField>;

/** Validates a lab and fills in the defaults. Throws `Invalid` with one detail per wrong field. */
export function parseLab(input: unknown): LabFile {
  return checkSchema<LabFile>(labFileSchema, input);
}

/** Reads a lab from a YAML (or JSON) file. Throws `NotFound` or `Invalid`. */
export async function readLabFile(path: string): Promise<LabFile> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new NattoError(
      "NotFound",
      `cannot read the lab file ${path}; check its path and rights`,
      [],
      cause,
    );
  });
  const document = parseDocument(text);
  const [fault] = document.errors;
  if (fault) throw new NattoError("Invalid", `${path} is not YAML: ${fault.message}; correct the file`);
  return parseLab(document.toJS());
}
