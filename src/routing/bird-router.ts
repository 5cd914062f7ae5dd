/** The driver that runs BIRD on the node and loads into it what is to be announced, without dropping a session. */
import { readFileSync, rmSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { asNattoError } from "../errors.ts";
import { type BirdRouting, type DeclaredSide, SIDES, type Side, servesSide } from "../model/routing.ts";
import { type Announcements, sortPrefixes } from "./announcements.ts";
import { DIGEST_CONSTANT, protocolName, renderBird, tableName } from "./bird-config.ts";
import { askBird, type BirdLine } from "./bird-control.ts";
import {
  type BirdFiles,
  birdFiles,
  birdPid,
  hasBird,
  killBird,
  loadConfig,
  placeConfig,
  startBird,
  stopBird,
} from "./bird-daemon.ts";
import { explainSession, readConstant, readPrefixes, readSessions } from "./bird-status.ts";
import type { Router, RouterReport, RoutingWish, SessionReport } from "./router.ts";
import {
  type InterfaceAddress,
  judgePassword,
  type PasswordRead,
  type ReadySession,
  type ResolvedSessions,
  resolveSessions,
} from "./sessions.ts";

/** A BIRD that answers nothing so many times in a row is killed and started anew. */
const SILENCES_TO_DEATH = 3;
const NEVER_SET_UP = "Unconfigured";
/** How long neighbours are given to take up that nothing is announced any more, before their sessions end: BGP has no word for "done". */
const FAREWELL_MS = 1000;
const WITHDRAWAL_MS = 2000;

/** What the driver does for a wish of its own kind. */
type BirdWish = RoutingWish & { readonly routing: BirdRouting };

/** Nothing is started before the first `ensure`. */
export function openBirdRouter(stateFolder: string): Router {
  const files = birdFiles(stateFolder);
  const readPassword = passwordReader();
  let silences = 0;

  const resolve = ({ routing, node }: BirdWish): ResolvedSessions =>
    resolveSessions(routing, { interfaces: node.interfaces, addresses: ownAddresses(), readPassword });

  const make = async (wish: BirdWish): Promise<readonly string[]> => {
    const { ready } = resolve(wish);
    const { bfd } = wish.routing;
    const plan = { routerId: wish.node.address, bfd, sessions: ready, announce: wish.announce };
    const { text, digest } = renderBird({ ...plan, logFile: files.log });
    if (birdPid(files) === undefined) {
      await placeConfig(files, text);
      await startBird(files);
      return ["started BIRD"];
    }
    const [loaded = [], protocols = []] = await askBird(files.socket, [
      `eval ${DIGEST_CONSTANT}`,
      "show protocols",
    ]);
    if (readConstant(loaded) !== digest) {
      await placeConfig(files, text);
      await loadConfig(files);
      return [`BIRD has loaded configuration ${digest}`];
    }
    return enableAll(files, protocols);
  };

  return {
    async ensure(wish) {
      if (!isBirdWish(wish)) return retireBird(files);
      try {
        const changes = await make(wish);
        silences = 0;
        return changes;
      } catch (thrown) {
        const error = asNattoError(thrown);
        silences = error.code === "Unavailable" ? silences + 1 : 0;
        if (silences < SILENCES_TO_DEATH) throw error;
        silences = 0;
        killBird(files);
        return [`killed a BIRD that did not answer ${SILENCES_TO_DEATH} times; it is started anew`];
      }
    },
    async observe(wish) {
      const resolved = isBirdWish(wish) ? resolve(wish) : { ready: [], unready: [] };
      return birdPid(files) === undefined ? reportDead(resolved) : observeBird(files, resolved);
    },
  };
}

function isBirdWish(wish: RoutingWish | undefined): wish is BirdWish {
  return wish?.routing.driver === "bird";
}

/** Protocols that somebody has disabled by hand are enabled again: what is declared wins. */
async function enableAll(files: BirdFiles, protocols: readonly BirdLine[]): Promise<readonly string[]> {
  const disabled = protocols.flatMap(({ text }) => {
    const [name = "", , , state] = text.trim().split(/\s+/);
    return state === "down" && /^(natto|session)_/.test(name) ? [name] : [];
  });
  if (disabled.length === 0) return [];
  await askBird(
    files.socket,
    disabled.map((name) => `enable ${name}`),
  );
  return disabled.map((name) => `enabled ${name}, which somebody had disabled`);
}

async function observeBird(files: BirdFiles, { ready, unready }: ResolvedSessions): Promise<RouterReport> {
  const [protocols = [], ...tables] = await askBird(files.socket, [
    "show protocols all",
    ...SIDES.map((table) => `show route table ${tableName(table)}`),
  ]);
  const seen = readSessions(protocols);
  const up = new Set([...seen].filter(([, { state }]) => state === "Established").map(([name]) => name));
  const isServed = (table: Side): boolean =>
    ready.some((session) => session.side === table && up.has(protocolName(session.name)));
  const announced = (what: DeclaredSide): readonly string[] =>
    sortPrefixes(
      SIDES.flatMap((table, i) =>
        servesSide(table, what) && isServed(table) ? readPrefixes(tables[i] ?? [], `_${what}`) : [],
      ),
    );
  const reports = ready.map((session): SessionReport => {
    const found = seen.get(protocolName(session.name)) ?? { state: "Idle", lastError: "not loaded yet" };
    return { ...termsOf(session), ...stateOf(found.state), message: explainSession(session, found) };
  });
  return {
    announced: { inside: announced("inside"), outside: announced("outside") },
    sessions: [...reports, ...reportUnready(unready)],
  };
}

function reportDead({ ready, unready }: ResolvedSessions): RouterReport {
  const none: Announcements = { inside: [], outside: [] };
  const sessions = ready.map((session): SessionReport => {
    const message = `BGP session ${session.name} to ${session.peer} AS ${session.peerAs}: BIRD does not run; it is started by itself`;
    return { ...termsOf(session), ...stateOf("Idle"), message };
  });
  return { announced: none, sessions: [...sessions, ...reportUnready(unready)] };
}

function reportUnready(unready: ResolvedSessions["unready"]): SessionReport[] {
  return unready.map((session) => ({
    ...termsOf(session),
    ...stateOf(NEVER_SET_UP),
    message: `BGP session ${session.name} to ${session.peer || "?"} AS ${session.peerAs} is not set up: ${session.problem}`,
  }));
}

function termsOf({ name, side, peer, peerAs }: Pick<ReadySession, "name" | "side" | "peer" | "peerAs">) {
  return { name, side, peer, peerAs };
}

function stateOf(state: string) {
  return { state, up: state === "Established" };
}

/**
 * Takes everything back that a BIRD of this state folder announces, gives its neighbours a moment, ends it and removes its files. Returns what was
 * removed, for people; nothing when there was nothing.
 */
async function retireBird(files: BirdFiles): Promise<readonly string[]> {
  if (!hasBird(files)) return [];
  const running = birdPid(files) !== undefined;
  if (running) await withdrawAll(files);
  await stopBird(files);
  rmSync(files.folder, { recursive: true, force: true });
  return [running ? "BIRD and what it announced" : "files of BIRD"];
}

/** Goodbye in order: first nothing is announced, while the sessions stand and the node still forwards; later they end. */
async function withdrawAll(files: BirdFiles): Promise<void> {
  try {
    await askBird(files.socket, ['disable "natto_*"']);
    const deadline = performance.now() + WITHDRAWAL_MS;
    for (;;) {
      const [protocols = []] = await askBird(files.socket, ["show protocols all"]);
      const exported = protocols.some(({ text }) => /Routes:.* [1-9]\d* exported/.test(text));
      if (!exported || performance.now() > deadline) break;
      await delay(20);
    }
    await delay(FAREWELL_MS);
  } catch {
    // One that does not answer cannot say goodbye: its neighbours learn of its end by BFD.
  }
}

/** Ends and removes the BIRD of a state folder, whether an agent runs or not. */
export async function cleanupBird(stateFolder: string): Promise<readonly string[]> {
  return retireBird(birdFiles(stateFolder));
}

/** The IPv4 addresses of this network namespace's interfaces. */
function ownAddresses(): readonly InterfaceAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, infos = []]) =>
    infos
      .filter(({ family }) => family === "IPv4")
      .map(({ address, cidr }) => ({ interface: name, address, bits: Number(cidr?.split("/")[1] ?? 32) })),
  );
}

/** Reads password files; one that cannot be read any more keeps the session that it made. */
function passwordReader(): (file: string) => PasswordRead {
  const known = new Map<string, PasswordRead>();
  return (file) => {
    try {
      const read = judgePassword(file, readFileSync(file, "utf8"));
      if (read.found === "password") known.set(file, read);
      return read;
    } catch (thrown) {
      const cause = asNattoError(thrown).message;
      const problem = `the password file ${file} cannot be read: ${cause}; put it on the node, with the password in its first line`;
      return known.get(file) ?? { found: "problem", problem };
    }
  };
}
