/**
 * The rules of a NodeConfig that its schema cannot say: references that must hold before the dataplane may follow them.
 * Pure. Also the digest by which configurations are compared.
 */
import { createHash } from "node:crypto";
import type { FieldError } from "../errors.ts";
import type { GatewayConfig, NodeConfig } from "../model/node-config.ts";
import { NOBODY } from "../model/placement.ts";
import { slotsPerAddress } from "../model/slots.ts";

const REMEDY = "the planner writes this object: look at the log of the controller";

/**
 * A short name of a configuration's content: 16 hexadecimal digits of the SHA-256 of its spec as JSON. Equal specs that
 * passed the schema have equal digests, since it puts their fields in order.
 */
export function configDigest(spec: NodeConfig["spec"]): string {
  return createHash("sha256").update(JSON.stringify(spec)).digest("hex").slice(0, 16);
}

/** Everything that is wrong with a NodeConfig for the node of this name; at most a few faults for each gateway. */
export function checkNodeConfig(config: NodeConfig, node: string): FieldError[] {
  const { spec, metadata } = config;
  const faults: FieldError[] = [];
  if (metadata.name !== node) {
    faults.push(fault("metadata.name", `is ${metadata.name}, and this node is ${node}`));
  }
  const known = new Set([node, ...spec.peers.map((p) => p.name)]);
  const addresses = new Map<string, string>();
  spec.gateways.forEach((gateway, i) => {
    const field = `spec.gateways[${i}]`;
    const stranger = gateway.nodes.find((name) => !known.has(name));
    if (stranger !== undefined) {
      faults.push(fault(`${field}.nodes`, `names ${stranger}, which is neither this node nor a peer`));
    }
    faults.push(...checkSlots(gateway, field));
    for (const { address } of gateway.addresses) {
      const name = `${gateway.namespace}/${gateway.name}`;
      const other = addresses.get(address);
      if (other !== undefined) {
        faults.push(fault(`${field}.addresses`, `${address} of ${name} also belongs to ${other}`));
      }
      addresses.set(address, name);
    }
  });
  return faults;
}

function checkSlots(gateway: GatewayConfig, field: string): FieldError[] {
  const slots = slotsPerAddress(gateway.portsPerSlot);
  const exists = (index: number): boolean => index >= NOBODY && index < gateway.nodes.length;
  for (const [i, { owners, backups, moves = [] }] of gateway.addresses.entries()) {
    const place = `${field}.addresses[${i}]`;
    if (owners.length !== slots || backups.length !== slots) {
      const found = `${owners.length} owners and ${backups.length} backups`;
      return [fault(place, `has ${found} for ${slots} slots`)];
    }
    if (!owners.every(exists) || !backups.every(exists)) {
      return [fault(place, `refers to a node beyond the ${gateway.nodes.length} in nodes`)];
    }
    const strange = moves.find(({ slot, from }) => slot >= slots || !exists(from));
    if (strange)
      return [
        fault(place, `has a move of slot ${strange.slot} from node ${strange.from}, which is not there`),
      ];
  }
  return [];
}

function fault(field: string, message: string): FieldError {
  return { field, message, remedy: REMEDY };
}
