/** Figures of membership by Consul that several parts share. */

/** Agents with Consul renew their Lease so seldom, in milliseconds: it carries what they see of their peers, and changes of that at once. */
export const CONSUL_LEASE_INTERVAL_MS = 10_000;
/** A Lease of such an agent that was not renewed for so long, in milliseconds, says nothing any more. */
export const CONSUL_LEASE_SILENCE_MS = 3 * CONSUL_LEASE_INTERVAL_MS;

/**
 * Settings of Consul's own agents with which the loss of a whole machine is noticed in about two seconds instead of fourteen: the heartbeat of a
 * node lives in the Consul agent beside it, and when both die it is gossip that tells. For `-hcl`; docs/membership.md explains them.
 */
export const CONSUL_TUNING = [
  'gossip_lan { probe_interval = "250ms" probe_timeout = "200ms" gossip_interval = "100ms" suspicion_mult = 3 }',
  "performance { raft_multiplier = 1 }",
  "disable_update_check = true",
].join(" ");
