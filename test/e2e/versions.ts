/** Other versions of Natto, to which the nodes of a lab are upgraded. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { type Edit, installVersion } from "../../src/dataplane/testing/other-version.ts";
import { listObjects } from "../../src/demo/cloud.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { readProcess } from "../../src/lab/run-folder.ts";
import { NODE_READY } from "../../src/model/gateway-node.ts";
import { NATTO_VERSION } from "../../src/version.ts";
import { stopSoftly, until } from "./fixture.ts";

/** What another version differs in. */
export interface Version {
  readonly name: string;
  readonly edits: readonly Edit[];
}

/** A version whose structure begins with a member that this one does not know. */
function versionWith(name: string, structure: string): Version {
  return {
    name,
    edits: [
      { file: "package.json", from: `"version": "${NATTO_VERSION}"`, to: `"version": "${name}"` },
      { file: "bpf/maps.h", from: `struct ${structure} {\n`, to: `struct ${structure} {\n\t__u32 added;\n` },
      {
        file: "src/dataplane/layouts.ts",
        from: `struct("${structure}", [`,
        to: `struct("${structure}", ["added",`,
      },
    ],
  };
}

/** Its maps of the configuration are others; the sessions are as they were. */
export const NEXT = versionWith("99.1.0", "source");
/** Its session table is another. */
export const OTHER_SESSIONS = versionWith("99.2.0", "record");

/** Installs versions beside this one, for this file's tests. The function returns the path of the installation's `natto`. */
export function useVersions(): (version: Version) => string {
  const folders: string[] = [];
  after(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  return ({ edits }) => {
    const folder = mkdtempSync(join(tmpdir(), "natto-version-"));
    folders.push(folder);
    return installVersion(folder, edits);
  };
}

/** Starts the agent of another installation on a node whose agent has been stopped, with the flags that this had, and waits until it is at work. */
export async function startVersion(
  lab: Lab,
  node: string,
  nattoPath: string,
  { name }: Version,
): Promise<void> {
  const record = await readProcess(lab.folder, node, "agent");
  assert(record, `${node} had an agent`);
  await lab.spawn(node, [nattoPath, ...record.command.slice(1)], { name: "agent" });
  await until(`${node} runs version ${name}`, async () => {
    const found = (await listObjects(lab, "GatewayNode")).find((n) => n.metadata.name === node);
    const isReady = found?.status?.conditions.some((c) => c.type === NODE_READY && c.status === "True");
    return found?.status?.agent?.version === name && isReady === true;
  });
}

/** Stops a node's agent and starts that of another version. */
export async function replaceAgent(
  lab: Lab,
  node: string,
  nattoPath: string,
  version: Version,
): Promise<void> {
  await stopSoftly(lab, node, "agent");
  await startVersion(lab, node, nattoPath, version);
}
