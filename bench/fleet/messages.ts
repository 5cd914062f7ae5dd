/** What the processes of the fleet bench say to each other. */

/** From the bench to a process of agents. */
export interface AgentsTask {
  readonly store: string;
  readonly agents: readonly { readonly name: string; readonly cell: string; readonly address: string }[];
}

/** From the bench to the controller: the store at first, then which nodes are gone. */
export type ControllerTask =
  | { readonly type: "start"; readonly store: string; readonly nodes: readonly string[] }
  | { readonly type: "gone"; readonly nodes: readonly string[] };

/** From a process of agents: all are registered; or one has been told its configuration. */
export type AgentsNews =
  | { readonly type: "registered" }
  | {
      readonly type: "config";
      readonly node: string;
      readonly gateways: number;
      /** Milliseconds since 1970. */
      readonly at: number;
    };

/** The time now with fractions of a millisecond, comparable between processes of one machine. */
export function wallClock(): number {
  return performance.timeOrigin + performance.now();
}
