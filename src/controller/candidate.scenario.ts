/** A candidate in a process of its own, for tests: `candidate.scenario.ts STORE HOLDER`. It writes what it is told to, in the first term that it had. */
import { asNattoError } from "../errors.ts";
import { cell } from "../store/fixtures.ts";
import { openStore } from "../store/open-store.ts";
import type { Term } from "./election.ts";
import { GROUP, SILENT, TTL_MS } from "./election-contract.ts";
import { openStoreElection } from "./store-election.ts";

export interface CandidateOrder {
  /** The name of a cell to create. */
  readonly create: string;
}

export interface CandidateNews {
  /** Or the code of the error. */
  readonly outcome: string;
}

const [, , url = "", holder = ""] = process.argv;
const store = await openStore(url);
const election = openStoreElection({ store, group: GROUP, holder, ttlMs: TTL_MS, logger: SILENT });
const { promise: firstTerm, resolve } = Promise.withResolvers<Term>();
election.onChange(() => {
  const term = election.term();
  if (term) resolve(term);
});

process.on("message", async ({ create }: CandidateOrder) => {
  const { store: writer } = await firstTerm;
  const outcome = await writer.create(cell(create)).then(
    () => "written",
    (thrown) => asNattoError(thrown).code,
  );
  process.send?.({ outcome } satisfies CandidateNews);
});
process.once("disconnect", () => process.exit());
