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
export function score(gatewayHash: number, node: { readonly hash: number; readonly weight: number }): number {
  const uniform = (mix32(gatewayHash ^ node.hash) + 0.5) / 2 ** 32;
  return Math.log(uniform) / node.weight;
}
