/**
 * Membership by Consul: each agent registers its node there (`consul-registration.ts`), and whoever opens this membership follows the
 * catalogue by blocking queries. What the peers see of each other, the second source, is in their Leases in the store. When Consul
 * cannot be reached, or shows no node at all any more, the last judgement stands.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop } from "../task-loop.ts";
import { healthSchema, type Instance, instancesOf, judgeCatalogue } from "./consul-catalog.ts";
import { type ConsulNews, openConsulClient } from "./consul-client.ts";
import type { ConsulSettings } from "./consul-settings.ts";
import { CONSUL_LEASE_SILENCE_MS } from "./consul-tuning.ts";
import { isSilent, type Observations } from "./judgement.ts";
import { observeLeases } from "./lease-observer.ts";
import { announceMembers } from "./members-announcer.ts";
import type { Members, Membership } from "./membership.ts";

export interface ConsulMembershipOptions {
  readonly clock?: Clock;
  /** How often the peers' words are looked at, in milliseconds. */
  readonly tickMs?: number;
  /**
   * How long silence means nothing, in milliseconds: after an outage of Consul, and after its catalogue was lost, which its agents notice only
   * by and by.
   */
  readonly settlingMs?: { readonly outage: number; readonly loss: number };
  readonly random?: () => number;
}

const SETTLING_MS = { outage: 10_000, loss: 120_000 };

/** Follows Consul at once; see `Membership.ready` for when it has heard anything. Throws `Environment` for files it cannot read. */
export function openConsulMembership(
  settings: ConsulSettings,
  store: Store,
  options: ConsulMembershipOptions = {},
): Membership {
  const { clock = SYSTEM_CLOCK, tickMs = 100, settlingMs = SETTLING_MS, random = Math.random } = options;
  const client = openConsulClient(settings, { clock, random });
  const leases = observeLeases(store, { clock, tickMs, silenceMs: () => CONSUL_LEASE_SILENCE_MS });
  const announcer = announceMembers();
  const ending = new AbortController();
  let instances: readonly Instance[] | undefined;
  let trouble: string | undefined;
  /** The catalogue was seen to be empty and has not been seen otherwise since. */
  let lost = false;
  let settledAt = Number.NEGATIVE_INFINITY;

  const hear = (news: ConsulNews<readonly Instance[]>): void => {
    const emptied = instances !== undefined && instances.length > 0 && isEmpty(news);
    const outage = trouble !== undefined && instances !== undefined;
    trouble =
      news.kind === "trouble" ? news.error.message : emptied ? emptyText(settings.service) : undefined;
    lost ||= emptied;
    if (news.kind === "value" && !emptied) {
      const wait = lost || news.rewound ? settlingMs.loss : outage ? settlingMs.outage : 0;
      settledAt = Math.max(settledAt, clock.elapsed() + wait);
      lost = false;
      instances = news.value;
    }
    loop.kick();
  };
  const judgeNow = (observations: Observations): Members | undefined => {
    if (!instances || trouble !== undefined) return undefined;
    const now = clock.elapsed();
    const isHeard = (node: string): boolean => {
      const observation = observations.get(node);
      return observation !== undefined && !isSilent(observation, CONSUL_LEASE_SILENCE_MS, now);
    };
    return judgeCatalogue({ instances, observations, isHeard, settling: now < settledAt });
  };
  const loop = startTaskLoop(
    async () => {
      const observations = leases.look();
      announcer.tell(observations && judgeNow(observations), trouble ?? leases.trouble());
      return tickMs;
    },
    0,
    clock,
  );
  const path = `/v1/health/service/${settings.service}`;
  const following = client.follow(path, healthSchema.transform(instancesOf), hear, ending.signal);

  return {
    ...announcer.membership,
    close: async () => {
      ending.abort();
      announcer.silence();
      await Promise.all([following, loop.stop(), leases.close()]);
      client.close();
    },
  };
}

function isEmpty(news: ConsulNews<readonly Instance[]>): boolean {
  return news.kind === "value" && news.value.length === 0;
}

/** Consul hides what a token may not read instead of refusing it, and a catalogue that was lost is empty too. */
function emptyText(service: string): string {
  return `Consul shows no node of service ${service} any more; check that its data is there, and that the token may read this service and all nodes`;
}
