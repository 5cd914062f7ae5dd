/** Opens the membership that an address names: for a controller to follow, for an agent to register with. */
import { NattoError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { openConsulMembership } from "./consul-membership.ts";
import { type ConsulRegistration, type NodeFacts, startConsulRegistration } from "./consul-registration.ts";
import { consulSettings } from "./consul-settings.ts";
import type { Membership } from "./membership.ts";
import { openStoreMembership } from "./store-membership.ts";

type Source = { readonly kind: "store" } | { readonly kind: "consul"; readonly url: string };

/**
 * Follows who is alive, by `store:` (heartbeats in the store) or `consul://…` (see `consulSettings`). Throws `BadRequest` for anything else,
 * `Environment` for files that cannot be read.
 */
export function openMembership(url: string, store: Store): Membership {
  const source = sourceOf(url);
  return source.kind === "store"
    ? openStoreMembership(store)
    : openConsulMembership(consulSettings(source.url, process.env), store);
}

/** How an agent registers its node, by the same addresses; undefined where the Lease in the store is all. Throws the same. */
export function startMember(
  url: string,
  logger: { info(message: string): void; warn(message: string): void },
): ((facts: () => NodeFacts) => ConsulRegistration) | undefined {
  const source = sourceOf(url);
  if (source.kind === "store") return undefined;
  const settings = consulSettings(source.url, process.env);
  return (facts) => startConsulRegistration({ settings, facts, logger });
}

function sourceOf(url: string): Source {
  if (url === "store:") return { kind: "store" };
  if (url.startsWith("consul:")) return { kind: "consul", url };
  throw new NattoError(
    "BadRequest",
    `membership "${url}": not a membership that Natto knows; use store: or consul://HOST:8500 (docs/membership.md)`,
  );
}
