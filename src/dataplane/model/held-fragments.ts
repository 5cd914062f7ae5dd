/**
 * Fragments that come before the first of their datagram are held, and released when it comes (docs/dataplane.md, "Fragments"). They circulate
 * through a pair of interfaces of Natto's own: at the end `again` a frame is taken up as if it came now; at `held` the next one that is held takes
 * its place.
 */
import { ETHERNET_BYTES, type Ipv4View, readMac, writeMac } from "../packet.ts";
import { datagramKey, FRAGMENT_LIFETIME_MS, shareOf } from "./fragments.ts";
import { MARKS, type Mark } from "./moves.ts";
import type { Direction, DropCounter, State } from "./state.ts";

export const MAX_HELD = 1024;
export const HELD_OF_DATAGRAM = 64;
/** Of `MAX_HELD`, for the senders of one share. */
export const SHARE_OF_HELD = 128;
/** The longest frame that is held. */
export const HELD_BYTES = 2048;

/** A datagram whose first fragment has not come. */
export interface Waiting {
  readonly source: number;
  /** Milliseconds. */
  readonly deadline: number;
  /** By their number; undefined where there was no room, or what has been released. */
  readonly held: readonly (Buffer | undefined)[];
  /** So many numbers have been released. */
  readonly released: number;
  /** The first has come: what comes now goes after those that are being released. */
  readonly isReleased: boolean;
}

const DIRECTIONS: readonly Direction[] = ["outbound", "inbound"];
const ownMac = (last: number) => `02:4e:41:54:00:${last.toString(16).padStart(2, "0")}`;
/** The MAC addresses of the pair. */
export const HELD_MAC = ownMac(0xff);

/** What a frame would be asked for between the two ends. */
export interface Label {
  readonly direction: Direction;
  readonly mark: Mark;
}

/** A frame with its label, by its MAC addresses. */
export function labelled(frame: Buffer, { direction, mark }: Label): Buffer {
  const out = Buffer.from(frame);
  writeMac(out, 0, ownMac(MARKS.indexOf(mark)));
  writeMac(out, 6, ownMac(DIRECTIONS.indexOf(direction) + 1));
  return out;
}

export function readLabel(frame: Buffer): Label | undefined {
  const mark = MARKS.find((_, i) => ownMac(i) === readMac(frame, 0));
  const direction = DIRECTIONS.find((_, i) => ownMac(i + 1) === readMac(frame, 6));
  return mark && direction ? { direction, mark } : undefined;
}

const heldIn = (waiting: Iterable<Waiting>): number =>
  [...waiting].reduce((sum, { held }) => sum + held.filter((frame) => frame).length, 0);

export interface Held {
  readonly state: State;
  /** Why it was not held. */
  readonly drop?: DropCounter;
  /** It is not held, but goes on at once to where it is taken up again. */
  readonly again?: Buffer;
}

/** Holds a later fragment whose first has not come. */
export function hold(state: State, frame: Buffer, ip: Ipv4View, label: Label, now: number): Held {
  const bytes = ETHERNET_BYTES + ip.totalBytes;
  if (bytes > HELD_BYTES) return { state, drop: "drop_fragment" };
  const full: Held = { state, drop: "drop_fragment_limit" };
  const key = datagramKey(ip, label.direction, label.mark);
  const all = [...state.waiting.values()];
  const share = shareOf(ip.source);
  if (heldIn(all.filter(({ source }) => shareOf(source) === share)) >= SHARE_OF_HELD) return full;
  const found = state.waiting.get(key);
  if (!found && state.waiting.size >= MAX_HELD) return full;
  const waiting = found ?? {
    source: ip.source,
    deadline: now + FRAGMENT_LIFETIME_MS,
    held: [],
    released: 0,
    isReleased: false,
  };
  if (waiting.held.length >= HELD_OF_DATAGRAM) return full;
  const room = heldIn(all) < MAX_HELD;
  const isHeld = room && !waiting.isReleased;
  const next = isHeld ? labelled(frame.subarray(0, bytes), label) : undefined;
  const after = withWaiting(state, key, { ...waiting, held: [...waiting.held, next] });
  if (!room) return { state: after, drop: "drop_fragment_limit" };
  return isHeld ? { state: after } : { state: after, again: labelled(frame, label) };
}

/** The first fragment of a datagram that waits has come. */
export function beginRelease(state: State, key: string): State | undefined {
  const waiting = state.waiting.get(key);
  return waiting && withWaiting(state, key, { ...waiting, isReleased: true });
}

function withWaiting(state: State, key: string, waiting: Waiting | undefined): State {
  const all = new Map(state.waiting);
  if (waiting) all.set(key, waiting);
  else all.delete(key);
  return { ...state, waiting: all };
}

/** Takes the next fragment of a datagram that is held; when there is none, the datagram waits no more. */
export function releaseNext(state: State, key: string): { readonly state: State; readonly frame?: Buffer } {
  const waiting = state.waiting.get(key);
  if (!waiting) return { state };
  const number = waiting.held.findIndex((frame, i) => i >= waiting.released && frame);
  const frame = waiting.held[number];
  if (!frame) return { state: withWaiting(state, key, undefined) };
  const held = waiting.held.with(number, undefined);
  return { state: withWaiting(state, key, { ...waiting, held, released: number + 1 }), frame };
}

/** Forgets what has waited too long; `expired` is how many fragments are lost with it. */
export function sweepHeld(state: State, now: number): { readonly state: State; readonly expired: number } {
  const over = [...state.waiting].filter(([, { deadline }]) => deadline <= now);
  const waiting = new Map([...state.waiting].filter(([, { deadline }]) => deadline > now));
  return { state: { ...state, waiting }, expired: heldIn(over.map(([, one]) => one)) };
}
