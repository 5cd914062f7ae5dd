/**
 * Reads the messages of one etcd watch: what each one means, and how far the watch is complete. Pure.
 *
 * The rules of resuming: an answer with events is complete up to its last event, one without events (progress) up to the revision of its
 * header, and `created` says nothing about events. An answer may be cut into fragments anywhere, so the events of its
 * last revision are held until the next fragment shows that no more of them follow.
 */
import { NattoError } from "../errors.ts";
import type { Event, WatchResponse } from "./etcd-rpc.ts";
import type { Change } from "./key-value.ts";

export interface ReaderState {
  /** Everything up to this revision has been passed on. */
  readonly position: number;
  /** Events of the last revision of a fragment. */
  readonly held: readonly Event[];
}

export type WatchStep =
  /** The watch is registered; `revision` is the member's at that time. */
  | { readonly type: "created"; readonly revision: number }
  /** Changes of whole revisions. */
  | { readonly type: "changes"; readonly changes: readonly Change[]; readonly bytes: number }
  /** Everything up to the state's position has been told. */
  | { readonly type: "progress" }
  | { readonly type: "canceled"; readonly reason: string }
  /** A fragment that did not complete a revision. */
  | { readonly type: "held" };

/** `prefixLength`: how many bytes to cut off each key. Throws `Expired` when changes are no longer to be had. */
export function readMessage(
  state: ReaderState,
  message: WatchResponse,
  prefixLength: number,
): { readonly state: ReaderState; readonly step: WatchStep } {
  const revision = Number(message.header.revision);
  if (message.canceled) {
    const compacted = Number(message.compact_revision);
    if (compacted !== 0) throw expired(state.position, `etcd keeps changes only since ${compacted}`);
    return { state, step: { type: "canceled", reason: message.cancel_reason } };
  }
  if (message.created) return { state, step: { type: "created", revision } };
  const events = [...state.held, ...message.events];
  const last = events.at(-1);
  if (last === undefined) {
    // A watch that begins in the future is told of a past that is not its own.
    return { state: { ...state, position: Math.max(state.position, revision) }, step: { type: "progress" } };
  }
  const whole = message.fragment
    ? events.findIndex((e) => e.kv.mod_revision === last.kv.mod_revision)
    : events.length;
  const complete = events[whole - 1];
  const held = events.slice(whole);
  if (complete === undefined) return { state: { ...state, held }, step: { type: "held" } };
  const changes = events.slice(0, whole).map((event) => changeOf(event, state.position, prefixLength));
  const bytes = changes.reduce((sum, { value }) => sum + value.length, 0);
  const position = Number(complete.kv.mod_revision);
  return { state: { position, held }, step: { type: "changes", changes, bytes } };
}

function changeOf({ type, kv, prev_kv }: Event, position: number, prefixLength: number): Change {
  const key = kv.key.subarray(prefixLength).toString("utf8");
  const revision = Number(kv.mod_revision);
  if (type === "PUT") {
    const value = kv.value.toString("utf8");
    return { type: kv.create_revision === kv.mod_revision ? "ADDED" : "MODIFIED", key, value, revision };
  }
  if (prev_kv === null) throw expired(position, `what ${key} held when it was deleted has been compacted`);
  return { type: "DELETED", key, value: prev_kv.value.toString("utf8"), revision };
}

export function expired(from: number, why: string): NattoError {
  return new NattoError(
    "Expired",
    `cannot watch from revision ${from}: ${why}; list again and watch from there`,
  );
}
