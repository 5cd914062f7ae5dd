import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { parseLab, readLabFile } from "./lab-file.ts";

const smallest = {
  apiVersion: "natto.dev/v1alpha1",
  kind: "Lab",
  metadata: { name: "tiny" },
  spec: { hosts: [{ name: "a", role: "endpoint" }] },
};

/** The first wrong field and what is said of it. */
function faultOf(input: unknown): string {
  try {
    parseLab(input);
  } catch (thrown) {
    assert(thrown instanceof NattoError);
    assert.equal(thrown.code, "Invalid");
    const [detail] = thrown.details;
    assert(detail);
    return `${detail.field}: ${detail.message}; ${detail.remedy}`;
  }
  return "no fault";
}

const withHost = (host: object) => ({
  ...smallest,
  spec: { hosts: [{ ...smallest.spec.hosts[0], ...host }] },
});

test("A lab's defaults are filled in.", () => {
  const lab = parseLab(smallest);
  assert.deepEqual(lab.spec.groups, []);
  assert.deepEqual(lab.spec.hosts[0]?.routes, []);
});

test("A fault names the field, what was found and what to do.", () => {
  assert.match(faultOf({ ...smallest, kind: "Cloud" }), /^kind: found "Cloud"; use "Lab"/);
  assert.match(
    faultOf(withHost({ role: "switch" })),
    /^spec\.hosts\[0\]\.role: found "switch"; use "router", "node"/,
  );
  assert.match(faultOf(withHost({ colour: "red" })), /^spec\.hosts\[0\]\.colour: unknown field/);
  assert.match(
    faultOf(withHost({ routes: [{ to: "10.0.0.1/8", via: ["eth0"] }] })),
    /^spec\.hosts\[0\]\.routes\[0\]\.to: "10\.0\.0\.1\/8" is not a destination; write 'default' or a CIDR/,
  );
  assert.match(
    faultOf(withHost({ processes: [{ name: "x", command: [] }] })),
    /^spec\.hosts\[0\]\.processes\[0\]\.command: \[\] is empty; give the program/,
  );
});

test("A lab's name has no dash, so that namespaces of two labs never have the same name.", () => {
  assert.match(
    faultOf({ ...smallest, metadata: { name: "a-b" } }),
    /^metadata\.name: "a-b" is not a lab's name; use/,
  );
});

test("Only sysctls of network namespaces can be set, and to nothing that a shell would interpret.", () => {
  assert.match(faultOf(withHost({ sysctls: { "kernel.panic": 1 } })), /kernel\.panic/);
  assert.match(
    faultOf(withHost({ sysctls: { "net.ipv4.ip_forward": "1'; reboot" } })),
    /is not the value of a sysctl/,
  );
});

test("A file that is missing or is not YAML is reported by its path.", async () => {
  const folder = await mkdtemp(join(tmpdir(), "natto-lab-file-"));
  try {
    const path = join(folder, "lab.yaml");
    await assert.rejects(readLabFile(path), {
      code: "NotFound",
      message: /cannot read the lab file .*lab\.yaml/,
    });
    await writeFile(path, "a: [");
    await assert.rejects(readLabFile(path), { code: "Invalid", message: /lab\.yaml is not YAML/ });
  } finally {
    await rm(folder, { recursive: true });
  }
});
