/** The methods of a store that write one object, made of the one that writes several. */
import type { AnyObject, Kind, ObjectOf } from "../model/kinds.ts";
import type { Draft, ObjectKey, Store, StoreChange } from "./store.ts";

export function singleWrites(
  commit: Store["commit"],
): Pick<Store, "create" | "update" | "updateStatus" | "delete" | "commit"> {
  const single = async <K extends Kind>(change: StoreChange): Promise<ObjectOf<K>> => {
    const [object] = await commit([change]);
    return object as ObjectOf<K>;
  };
  const write =
    (action: "create" | "update" | "updateStatus") =>
    <K extends Kind>(draft: Draft<K>): Promise<ObjectOf<K>> =>
      single<K>({ action, draft: draft as AnyObject });
  return {
    commit,
    create: write("create"),
    update: write("update"),
    updateStatus: write("updateStatus"),
    delete: <K extends Kind>(key: ObjectKey<K>, resourceVersion?: string) =>
      single<K>({ action: "delete", key, resourceVersion }),
  };
}
