import { contractOfMemberships } from "./contract.ts";
import type { MemberState } from "./membership.ts";
import { openStaticMembership } from "./static-membership.ts";

contractOfMemberships("static", async (t) => {
  const membership = openStaticMembership(new Map());
  t.after(() => membership.close());
  const seen = new Map<string, readonly string[]>();
  const states = new Map<string, MemberState>();
  const tell = (trouble?: string): void => {
    const witnessed = new Set(
      [...seen].flatMap(([node, peers]) => (states.get(node) === "alive" ? peers : [])),
    );
    const members = [...states].map(
      ([node, state]) => [node, state !== "alive" && witnessed.has(node) ? "unmanaged" : state] as const,
    );
    membership.set(new Map(members), trouble);
  };
  return {
    membership,
    live: async (node, peersAlive = []) => {
      states.set(node, "alive");
      seen.set(node, peersAlive);
      tell();
    },
    fallSilent: async (node) => {
      states.set(node, "gone");
      tell();
    },
    goAway: async () => tell("whoever tells it is away"),
    comeBack: async () => tell(),
  };
});
