import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { natCloud } from "./clouds.ts";
import { parseLab, readLabFile } from "./lab-file.ts";

test("examples/lab.yaml is the cloud that natCloud makes.", async () => {
  const file = await readLabFile(join(import.meta.dirname, "../../examples/lab.yaml"));
  assert.deepEqual(file, parseLab(natCloud({ name: "demo", routing: "bgp" })));
});
