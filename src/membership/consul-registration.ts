/**
 * The node in Consul, kept by its own agent: it is registered with the Consul agent of this machine, its checks are renewed, its drain is
 * shown as maintenance, and a clean stop takes it out. Everything is told again and again, so whatever Consul forgot is there a moment later.
 */
import { type Backoff, backoffMs } from "../backoff.ts";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import { startTaskLoop, within } from "../task-loop.ts";
import { AGENT_CHECK, type CheckState, checkId, instanceId } from "./consul-catalog.ts";
import { openConsulClient } from "./consul-client.ts";
import type { ConsulSettings } from "./consul-settings.ts";

/** What the agent says about one part of its node. */
export interface NodeCheck {
  /** Such as `dataplane`. Always the same ones, in each call. */
  readonly name: string;
  /** Undefined: not known yet. Until all are known the node does not speak up, so that no old news is taken for fresh. */
  readonly state: CheckState | undefined;
  /** For people. */
  readonly output: string;
}

export interface NodeFacts {
  readonly node: string;
  readonly cell: string;
  readonly address: string;
  readonly version: string;
  readonly draining: boolean;
  /** The cell's time to live: a heartbeat that is older is silence. */
  readonly ttlSeconds: number;
  readonly checks: readonly NodeCheck[];
}

/** Requests to Consul's agent that register a node. Pure. */
export function registrationOf(service: string, facts: NodeFacts) {
  const id = instanceId(service, facts.node);
  const names = [AGENT_CHECK, ...facts.checks.map((check) => check.name)];
  return {
    ID: id,
    Name: service,
    Tags: [facts.cell],
    Address: facts.address,
    Meta: { node: facts.node, cell: facts.cell, version: facts.version },
    Checks: names.map((name) => ({
      CheckID: checkId(id, name),
      Name: `Natto ${name}`,
      TTL: `${facts.ttlSeconds * 1000}ms`,
      // Nobody is well before he says so. Checks that are there already keep their state.
      Status: "critical",
    })),
  };
}

/** Milliseconds between two renewals: three in the time to live, and at least one a second. */
export function renewalIntervalMs(ttlSeconds: number): number {
  return Math.min(1000, (ttlSeconds * 1000) / 3);
}

export interface ConsulRegistrationOptions {
  readonly settings: ConsulSettings;
  readonly facts: () => NodeFacts;
  readonly logger: { info(message: string): void; warn(message: string): void };
  readonly clock?: Clock | undefined;
  readonly random?: () => number;
}

export interface ConsulRegistration {
  /** Something worth telling has changed. */
  kick(): void;
  /** Ends without a word, as if the agent had been killed. */
  abandon(): Promise<void>;
  /** Takes the node out of Consul, if it takes no longer than `limitMs`, and ends. */
  stop(limitMs: number): Promise<void>;
}

const BACKOFF: Backoff = { baseMs: 250, capMs: 2000 };
const MIN_GAP_MS = 50;

/** Starts at once. Throws `Environment` for files it cannot read; whatever fails later is logged and tried again. */
export function startConsulRegistration(options: ConsulRegistrationOptions): ConsulRegistration {
  const { settings, facts, logger, clock = SYSTEM_CLOCK, random = Math.random } = options;
  const client = openConsulClient(settings, { clock, random });
  let registered = "";
  let maintained: boolean | undefined;
  let failures = 0;
  let lastProblem = "";

  const tell = async (told: NodeFacts): Promise<void> => {
    const registration = registrationOf(settings.service, told);
    const text = JSON.stringify(registration);
    if (registered !== text) {
      await client.put("/v1/agent/service/register?replace-existing-checks=true", registration);
      registered = text;
      maintained = undefined;
      logger.info(`registered with Consul as ${registration.ID} (${client.description})`);
    }
    if (maintained !== told.draining) {
      const query = told.draining
        ? `enable=true&reason=${encodeURIComponent("drained by Natto")}`
        : "enable=false";
      await client.put(`/v1/agent/service/maintenance/${encodeURIComponent(registration.ID)}?${query}`);
      maintained = told.draining;
    }
    for (const update of updatesOf(registration.ID, told)) await client.put(update.path, update.body);
  };
  const run = async (): Promise<number> => {
    const told = facts();
    try {
      await tell(told);
      if (failures > 0) logger.info(`Consul answers again (${client.description})`);
      failures = 0;
      lastProblem = "";
      return renewalIntervalMs(told.ttlSeconds);
    } catch (thrown) {
      failures++;
      // Perhaps it was started anew and has forgotten the node.
      registered = "";
      const { message } = asNattoError(thrown);
      if (message !== lastProblem) logger.warn(`cannot report to Consul: ${message}`);
      lastProblem = message;
      return Math.min(renewalIntervalMs(told.ttlSeconds), backoffMs(BACKOFF, failures, random()));
    }
  };
  const loop = startTaskLoop(run, MIN_GAP_MS, clock);

  return {
    kick: loop.kick,
    abandon: async () => {
      await loop.stop();
      client.close();
    },
    stop: async (limitMs) => {
      const id = instanceId(settings.service, facts().node);
      const leave = async (): Promise<void> => {
        await loop.stop();
        await client.put(`/v1/agent/service/deregister/${encodeURIComponent(id)}`);
      };
      await within(
        limitMs,
        leave().catch((thrown: unknown) => {
          logger.warn(`cannot leave Consul, which will notice the silence: ${asNattoError(thrown).message}`);
        }),
        clock,
      );
      client.close();
    },
  };
}

/** The updates of the checks: the heartbeat last, and only when everything else is known and told. Pure. */
export function updatesOf(instance: string, { checks }: NodeFacts) {
  const update = (name: string, state: CheckState, output: string) => ({
    path: `/v1/agent/check/update/${encodeURIComponent(checkId(instance, name))}`,
    body: { Status: state, Output: output },
  });
  const known = checks.flatMap(({ name, state, output }) => (state ? [update(name, state, output)] : []));
  return known.length < checks.length ? known : [...known, update(AGENT_CHECK, "passing", "the agent runs")];
}
