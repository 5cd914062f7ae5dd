/** The operator's word that a node is dead, in `Cell.spec.membership.confirmedLost`: given and taken back. */
import { NattoError } from "../errors.ts";
import { listenFor } from "../membership/sign-of-life.ts";
import type { Cell } from "../model/cell.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Store } from "../store/store.ts";
import { getNode } from "./node.ts";
import { redoOnConflict } from "./redo.ts";

/**
 * Names the node among the lost of its cell, and says what that does. Unless `force`, the node is listened to before, and whoever shows a sign of
 * life is refused (`Rejected`). `say` is told what is waited for. Throws `NotFound` for a node or cell that does not exist.
 */
export async function confirmLost(
  store: Store,
  name: string,
  { force, say }: { readonly force: boolean; readonly say: (line: string) => void },
): Promise<string> {
  const node = await getNode(store, name);
  if (!force) await refuseTheLiving(store, node, say);
  const { cell } = node.spec;
  const changed = await declare(store, cell, (lost) => (lost.includes(name) ? lost : [...lost, name].sort()));
  return changed
    ? `node ${name} is named as lost in cell ${cell}: as long as it is not heard, its loss is believed without doubt, and its slots go to others. When it is back: natto confirm-lost ${name} --undo`
    : `node ${name} is named as lost in cell ${cell} already`;
}

/** Takes the name out wherever it stands, also that of a node that was deleted; says what that does. Throws `NotFound` for a name that nobody knows. */
export async function undoConfirmation(store: Store, name: string): Promise<string> {
  const { items } = await store.list({ kind: "Cell" });
  const naming = items.filter(({ spec }) => spec.membership.confirmedLost.includes(name));
  if (naming.length === 0) {
    await getNode(store, name);
    return `node ${name} is not named as lost; nothing was changed`;
  }
  for (const { metadata } of naming) {
    await declare(store, metadata.name, (lost) => lost.filter((other) => other !== name));
  }
  const cells = naming.map(({ metadata }) => metadata.name).join(", ");
  return `node ${name} is not named as lost any more in cell ${cells}: its next loss is doubted as any other`;
}

async function refuseTheLiving(store: Store, node: GatewayNode, say: (line: string) => void): Promise<void> {
  const { name } = node.metadata;
  const { silenceMs, sign } = await listenFor(store, node);
  say(`listening for node ${name} for ${silenceMs / 1000} s (--force goes without)`);
  const found = await sign();
  if (found === undefined) return;
  throw new NattoError(
    "Rejected",
    `node ${name} is not lost: ${found}. To name it in spec.membership.confirmedLost would only have its next loss believed without doubt; use natto drain ${name} to take it out of service, or --force`,
  );
}

type Names = Cell["spec"]["membership"]["confirmedLost"];

/** Changes the lost of a cell; whether there was anything to change. */
async function declare(store: Store, name: string, change: (lost: Names) => Names): Promise<boolean> {
  return redoOnConflict(async () => {
    const cell = await store.get({ kind: "Cell", name });
    if (!cell) throw new NattoError("NotFound", `Cell ${name} does not exist; see natto get cells`);
    const { membership } = cell.spec;
    const confirmedLost = change(membership.confirmedLost);
    if (confirmedLost.length === membership.confirmedLost.length) return false;
    await store.update<"Cell">({
      ...cell,
      spec: { ...cell.spec, membership: { ...membership, confirmedLost } },
    });
    return true;
  });
}
