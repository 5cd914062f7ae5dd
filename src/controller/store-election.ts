/**
 * Election by an object in the store: a `Leadership`, which its holder keeps in one of two ways (`tenure.ts`). Whoever finds none, or has watched
 * one that its holder should renew for its time to live without seeing a change, writes its own name into it, under the precondition that
 * it is still what was found. That write begins the next term (uid and generation of the object), and fences the one before. Clocks of
 * different machines are never compared.
 */
import type { Logger } from "pino";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import { DEFAULT_TTL_MS, type Leadership, termName } from "../model/leadership.ts";
import { openMirror } from "../store/mirror.ts";
import type { Fence, Store } from "../store/store.ts";
import { startTaskLoop, withDeadline } from "../task-loop.ts";
import type { Election, Term } from "./election.ts";
import { type Tenure, tenureIn } from "./tenure.ts";

export interface StoreElectionOptions {
  readonly store: Store;
  /** What is led: the name of the Leadership. */
  readonly group: string;
  /** The name of this process, different at each of its starts. */
  readonly holder: string;
  /** How long this process may be silent before another takes over from it. */
  readonly ttlMs?: number;
  readonly logger: Pick<Logger, "info" | "warn">;
  readonly clock?: Clock;
}

/** Renewals in a time to live. */
const RENEWALS = 3;
/** The wait after a call that failed, as a part of the time to live. */
const RETRIES = 10;

/** When the leadership was first seen as it is. */
export interface Sighting {
  readonly version: string;
  /** Milliseconds of the observer's clock. */
  readonly since: number;
}

/** What is known after a look. Whoever could not hear the store (`blind`) begins to wait anew. */
export function sight(
  before: Sighting | undefined,
  found: Leadership | undefined,
  now: number,
  blind: boolean,
): Sighting {
  const version = found ? `${found.metadata.uid} ${found.metadata.resourceVersion}` : "";
  return before?.version === version && !blind ? before : { version, since: now };
}

/** Milliseconds until the leadership may be taken; 0: now; infinite: when the store has deleted it. */
export function vacantIn(found: Leadership | undefined, { since }: Sighting, now: number): number {
  if (!found || found.spec.holder === "") return 0;
  if (found.spec.lease !== undefined) return Number.POSITIVE_INFINITY;
  return Math.max(0, since + found.spec.ttlMs - now);
}

/** Stands for election at once, and again and again until it is closed. */
export function openStoreElection(options: StoreElectionOptions): Election {
  const { store, group, holder, ttlMs = DEFAULT_TTL_MS, logger, clock = SYSTEM_CLOCK } = options;
  const mirror = openMirror(store, { kind: "Leadership", name: group }, { clock });
  const office = makeOffice(store, logger);
  const tenure = tenureIn(store, group);
  let sighting: Sighting | undefined;
  let renewedAt = Number.NEGATIVE_INFINITY;

  const soon = ttlMs / RETRIES;
  const timestamp = (): string => new Date(clock.now()).toISOString();
  const ask = <T>(call: Promise<T>): Promise<T> =>
    withDeadline(ttlMs / RENEWALS, call, `${store.description} did not answer`, clock);

  /** Writes, and holds what was written from the time at which it was begun. */
  async function hold(write: () => Promise<Leadership>): Promise<number> {
    const began = clock.elapsed();
    office.enter(await ask(write()));
    renewedAt = began;
    return ttlMs / RENEWALS;
  }

  function renew(held: Leadership): Promise<number> {
    return hold(() => tenure.renew(held, office.termOf(held).store, timestamp()));
  }

  function stand(found: Leadership | undefined): Promise<number> {
    return hold(() => tenure.begin(found, { holder, ttlMs, since: timestamp() }));
  }

  async function takePart(): Promise<number> {
    const held = office.held();
    if (held) return renew(held);
    const blind = !mirror.synced() || mirror.staleSince() !== undefined;
    const found = mirror.get(group);
    const now = clock.elapsed();
    sighting = sight(sighting, found, now, blind);
    if (blind) return soon;
    // The answer to standing was lost, or the store was away for a while and nobody has taken over.
    if (found?.spec.holder === holder) return renew(found);
    const waitMs = vacantIn(found, sighting, now);
    return waitMs > 0 ? Math.min(waitMs, ttlMs) : stand(found);
  }

  const round = async (): Promise<number> => {
    try {
      return await takePart();
    } catch (thrown) {
      const { code, message, transient } = asNattoError(thrown);
      if (transient) logger.warn(`cannot take part in the election of ${group}: ${message}`);
      if (code === "Fenced" || code === "NotFound") office.leave(message);
      else if (clock.elapsed() - renewedAt >= ttlMs) office.leave("it could not be renewed in time");
      return soon;
    }
  };
  const loop = startTaskLoop(round, 0, clock);
  const stopListening = mirror.onChange(() => {
    // What this process has written itself is no reason to write again.
    if (mirror.get(group)?.spec.holder !== holder) loop.kick();
  });

  return {
    term: office.term,
    leader: () => mirror.get(group)?.spec.holder || undefined,
    onChange: office.onChange,
    doubt: loop.kick,
    close: async () => {
      stopListening();
      await loop.stop();
      await resign(office, tenure, ask);
      office.leave("it was given up");
      await mirror.close();
    },
  };
}

type Office = ReturnType<typeof makeOffice>;

/** The term that this process holds, the object that says so, and who is told of changes. */
function makeOffice(store: Store, logger: StoreElectionOptions["logger"]) {
  const listeners = new Set<() => void>();
  let present: { readonly term: Term; readonly held: Leadership } | undefined;
  const tell = (): void => {
    for (const listener of [...listeners]) listener();
  };

  /** The term of which the object speaks; the present one if it is that. */
  function termOf({ kind, metadata: { name, uid, generation } }: Leadership): Term {
    const fence = present?.term.fence;
    if (present && fence?.uid === uid && fence.generation === generation) return present.term;
    const next: Fence = { key: { kind, name }, uid, generation };
    return { fence: next, store: store.fenced(next) };
  }

  return {
    term: () => present?.term,
    held: () => present?.held,
    termOf,
    enter: (held: Leadership): void => {
      const term = termOf(held);
      const same = term === present?.term;
      present = { term, held };
      if (same) return;
      logger.info({ term: termName(held) }, "leads");
      tell();
    },
    leave: (why: string): void => {
      if (!present) return;
      logger.info({ term: termName(present.held) }, `leads no more: ${why}`);
      present = undefined;
      tell();
    },
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** Gives up the term; if that fails, it ends by itself. */
async function resign(
  office: Office,
  tenure: Tenure,
  ask: <T>(call: Promise<T>) => Promise<T>,
): Promise<void> {
  const held = office.held();
  if (held) await ask(tenure.end(held, office.termOf(held).store)).catch(() => {});
}
