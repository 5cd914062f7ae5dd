/**
 * Weighted rendezvous hashing (Thaler and Ravishankar 1998, with the weights of Schindelhauer and Schomaker 2005): every
 * (gateway, node) pair has a score that nothing else influences, so a node that comes or goes changes no order among the others.
 */
import { mix32 } from "../model/slots.ts";

/** FNV-1a over UTF-16 code units, mixed; a 32-bit word. */
export function hashText(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return mix32(h);
}

/**
 * The score of a node for a gateway: the higher, the rather. A node is the highest with a probability in proportion to its
 * weight (above 0). Always negative.
 */
export function score(gatewayHash: number, nodeHash: number, weight: number): number {
  return Math.log(uniform(gatewayHash, nodeHash)) / weight;
}

/** No less than the score and cheaper, since ln x ≤ x − 1: tells of most nodes that they need no closer look. */
export function scoreBound(gatewayHash: number, nodeHash: number, weight: number): number {
  return (uniform(gatewayHash, nodeHash) - 1) / weight;
}

/** Evenly distributed between 0 and 1, both excluded. */
function uniform(gatewayHash: number, nodeHash: number): number {
  return (mix32(gatewayHash ^ nodeHash) + 0.5) / 2 ** 32;
}
