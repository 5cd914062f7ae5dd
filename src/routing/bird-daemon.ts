/**
 * The BIRD process of a node. It runs on its own, apart from the agent, so that sessions outlive the agent's restarts and upgrades: an agent
 * finds it again by the control socket in the node's state folder. Everything of it is in one folder.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { NattoError } from "../errors.ts";
import { runCommand } from "../run-command.ts";
import { askBird, errorOf } from "./bird-control.ts";

export interface BirdFiles {
  readonly folder: string;
  readonly config: string;
  readonly socket: string;
  readonly pid: string;
  readonly log: string;
}

/** sockaddr_un holds a path of 107 bytes and a zero. */
const MAX_SOCKET_PATH = 107;
/** BFD answers within a fraction of a second, however busy the node is. */
const PRIORITY = ["nice", "-n", "-10"];
const START_MS = 5000;
const STOP_MS = 5000;
const POLL_MS = 20;

/** The files of the BIRD in this state folder. */
export function birdFiles(stateFolder: string): BirdFiles {
  const folder = join(stateFolder, "bird");
  const file = (name: string): string => join(folder, name);
  return {
    folder,
    config: file("bird.conf"),
    socket: file("bird.ctl"),
    pid: file("bird.pid"),
    log: file("bird.log"),
  };
}

/**
 * The pid of the BIRD that has these files; undefined when none runs. A pid that was given to another process is not taken for it, and a BIRD
 * whose pid file somebody removed is found all the same.
 */
export function birdPid(files: BirdFiles): number | undefined {
  const noted = notedPid(files);
  if (isBird(files, noted)) return noted;
  if (!existsSync(files.socket)) return undefined;
  return readdirSync("/proc")
    .map(Number)
    .find((pid) => isBird(files, pid));
}

function notedPid(files: BirdFiles): number {
  try {
    return Number(readFileSync(files.pid, "utf8"));
  } catch {
    return 0;
  }
}

function isBird(files: BirdFiles, pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    const [program = "", ...args] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return basename(program) === "bird" && args.includes(files.socket);
  } catch {
    return false;
  }
}

/**
 * Has BIRD check a configuration and puts it in place. Throws `Internal` when BIRD would not take it, and `Environment` when it could not work in
 * this folder: then the earlier one stays.
 */
export async function placeConfig(files: BirdFiles, text: string): Promise<void> {
  if (Buffer.byteLength(files.socket) > MAX_SOCKET_PATH || /["\n]/.test(files.socket)) {
    throw new NattoError(
      "Environment",
      `${files.socket} cannot be BIRD's control socket: more than ${MAX_SOCKET_PATH} bytes, or a quote in it; choose another --state-folder`,
    );
  }
  mkdirSync(files.folder, { recursive: true, mode: 0o700 });
  const draft = `${files.config}.new`;
  // There may be passwords in it.
  writeFileSync(draft, text, { mode: 0o600 });
  const { code, stderr, stdout } = await runCommand(["bird", "-p", "-c", draft], { timeoutMs: START_MS });
  if (code !== 0) {
    const words = (stderr || stdout).trim();
    throw new NattoError(
      "Internal",
      `BIRD does not take the configuration ${draft}: ${words}; what it had before stands. Please report this`,
    );
  }
  renameSync(draft, files.config);
}

/**
 * Starts BIRD with the configuration that is in place, in this network namespace or in one of this name; it answers when this resolves. Throws
 * `Environment`.
 */
export async function startBird(files: BirdFiles, namespace?: string): Promise<void> {
  rmSync(files.socket, { force: true });
  const bird = [...PRIORITY, "bird", "-c", files.config, "-s", files.socket, "-P", files.pid];
  const argv = namespace === undefined ? bird : ["ip", "netns", "exec", namespace, ...bird];
  const { code, stderr } = await runCommand(argv, { timeoutMs: START_MS });
  if (code !== 0) {
    throw new NattoError("Environment", `BIRD does not start: ${stderr.trim()}; see ${files.log}`);
  }
  const deadline = performance.now() + START_MS;
  for (;;) {
    try {
      await askBird(files.socket, ["show status"]);
      return;
    } catch (thrown) {
      if (performance.now() > deadline) throw thrown;
      await delay(POLL_MS);
    }
  }
}

/** Makes a running BIRD take up the configuration that is in place. Throws `Internal` when it refuses. */
export async function loadConfig(files: BirdFiles): Promise<void> {
  const [answer = []] = await askBird(files.socket, [`configure "${files.config}"`]);
  const error = errorOf(answer);
  if (error === undefined) return;
  throw new NattoError(
    "Internal",
    `BIRD does not load ${files.config}: ${error}; what it had before stands. Please report this`,
  );
}

/** Ends BIRD: by its own means, so that its neighbours are told, and by force if that takes too long. */
export async function stopBird(files: BirdFiles): Promise<void> {
  const pid = birdPid(files);
  if (pid === undefined) return;
  // One that does not answer is told by a signal below.
  await askBird(files.socket, ["down"]).catch(() => {});
  if (await isGone(files, pid, STOP_MS)) return;
  process.kill(pid, "SIGKILL");
  if (await isGone(files, pid, STOP_MS)) return;
  throw new NattoError("Environment", `BIRD (pid ${pid}) does not end; kill it by hand`);
}

/** Kills BIRD without ceremony: for one that answers nothing. */
export function killBird(files: BirdFiles): void {
  const pid = birdPid(files);
  if (pid !== undefined) process.kill(pid, "SIGKILL");
}

/** Waits until the process has ended: it removes its pid file somewhat earlier. */
async function isGone(files: BirdFiles, pid: number, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (isBird(files, pid)) {
    if (performance.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** Whether there is anything of a BIRD in this state folder, running or not. */
export function hasBird(files: BirdFiles): boolean {
  return existsSync(files.folder);
}
