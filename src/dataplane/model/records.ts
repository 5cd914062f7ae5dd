/** Adding, changing and removing records, together with the flow entries that lead to them. */
import { countRecord } from "./limits.ts";
import { type FlowRecord, flowKeysOf, type State } from "./state.ts";

export interface Indexed<R extends FlowRecord> {
  readonly index: number;
  readonly record: R;
}

/** The state with a record that is new, at the next index. */
export function addRecord(state: State, record: FlowRecord): State {
  const flows = new Map(state.flows);
  for (const [direction, key] of flowKeysOf(record)) flows.set(key, { record: state.nextRecord, direction });
  const records = new Map(state.records).set(state.nextRecord, record);
  return countRecord({ ...state, records, flows, nextRecord: state.nextRecord + 1 }, record, 1);
}

/** The state with a record in place of the one before, which has the same flow entries. */
export function changeRecord(state: State, index: number, record: FlowRecord): State {
  return { ...state, records: new Map(state.records).set(index, record) };
}

export function removeRecord(state: State, index: number): State {
  const record = state.records.get(index);
  if (!record) return state;
  const records = new Map(state.records);
  const flows = new Map(state.flows);
  records.delete(index);
  for (const [, key] of flowKeysOf(record)) flows.delete(key);
  return countRecord({ ...state, records, flows }, record, -1);
}

/** The record to which an entry of `flows` leads. */
export function recordAt(state: State, key: string): Indexed<FlowRecord> | undefined {
  const flow = state.flows.get(key);
  const record = flow && state.records.get(flow.record);
  return record && { index: flow.record, record };
}
