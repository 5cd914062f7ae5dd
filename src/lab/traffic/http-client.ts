/**
 * HTTP requests from an endpoint: `node http-client.ts [--count N] [--concurrency N] [--local-port PORT] [--timeout MS] [--upload BYTES] URL…`
 *
 * Each of `count` rounds gets every URL once (with `--upload` it posts that many bytes of payload.ts instead), every time over a new connection;
 * up to `concurrency` at once. Request i has local port PORT + i if that is given. Writes an HttpResult as a JSON line for each, and exits with 1 if
 * one of them failed.
 */
import { createHash } from "node:crypto";
import { request } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { emit } from "./json-lines.ts";
import { payload, payloadDigest } from "./payload.ts";

export interface HttpResult {
  readonly event: "response";
  readonly url: string;
  /** Undefined when there was no answer. */
  readonly status: number | undefined;
  /** Of the body. */
  readonly bytes: number;
  readonly sha256: string;
  /** Whether what arrived is what was sent; undefined where that cannot be known (neither /bytes/N nor an upload). */
  readonly intact: boolean | undefined;
  /** Up to 1 kB of the body, when it is text or JSON. */
  readonly text: string | undefined;
  readonly localPort: number | undefined;
  /** Our address:port as the server sees it. */
  readonly outside: string | undefined;
  readonly milliseconds: number;
  readonly error: string | undefined;
}

interface Job {
  readonly url: string;
  readonly localPort: number | undefined;
  readonly timeoutMs: number;
  readonly upload: number | undefined;
}

async function fetchOnce({ url, localPort, timeoutMs, upload }: Job): Promise<HttpResult> {
  const start = performance.now();
  const hash = createHash("sha256");
  const head: Buffer[] = [];
  const seen: { bytes: number; status?: number; localPort?: number; outside?: string; text: boolean } = {
    bytes: 0,
    text: true,
  };
  let error: string | undefined;
  const call = request(url, {
    agent: false,
    signal: AbortSignal.timeout(timeoutMs),
    ...(localPort === undefined ? {} : { localPort }),
    ...(upload === undefined ? {} : { method: "POST", headers: { "content-length": upload } }),
  });
  try {
    const answered = new Promise<void>((resolve, reject) => {
      call.on("error", reject);
      call.on("socket", (socket) =>
        socket.on("connect", () => {
          if (socket.localPort !== undefined) seen.localPort = socket.localPort;
        }),
      );
      call.on("response", (response) => {
        if (response.statusCode !== undefined) seen.status = response.statusCode;
        const client = response.headers["x-client"];
        if (typeof client === "string") seen.outside = client;
        seen.text = response.headers["content-type"] !== "application/octet-stream";
        response.on("data", (part: Buffer) => {
          if (seen.bytes < 1024) head.push(part);
          seen.bytes += part.length;
          hash.update(part);
        });
        response.on("end", resolve).on("error", reject);
      });
    });
    const sent = upload === undefined ? call.end() : pipeline(Readable.from(payload(upload)), call);
    await Promise.all([answered, sent]);
  } catch (thrown) {
    error = thrown instanceof Error ? thrown.message : String(thrown);
  }
  const sha256 = hash.digest("hex");
  const text = seen.text && seen.bytes > 0 ? Buffer.concat(head).toString().slice(0, 1024) : undefined;
  return {
    event: "response",
    url,
    status: seen.status,
    bytes: seen.bytes,
    sha256,
    intact: isIntact(url, upload, sha256, text),
    text,
    localPort: seen.localPort,
    outside: seen.outside,
    milliseconds: performance.now() - start,
    error,
  };
}

function isIntact(
  url: string,
  upload: number | undefined,
  sha256: string,
  text: string | undefined,
): boolean | undefined {
  if (upload !== undefined) return text?.includes(payloadDigest(upload)) ?? false;
  const length = /\/bytes\/(\d+)$/.exec(url)?.[1];
  return length === undefined ? undefined : sha256 === payloadDigest(Number(length));
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      count: { type: "string", default: "1" },
      concurrency: { type: "string", default: "1" },
      "local-port": { type: "string" },
      timeout: { type: "string", default: "30000" },
      upload: { type: "string" },
    },
  });
  const first = values["local-port"];
  const urls = Array.from({ length: Number(values.count) }, () => positionals).flat();
  const jobs = urls.map((url, i) => ({
    url,
    localPort: first === undefined ? undefined : Number(first) + i,
    timeoutMs: Number(values.timeout),
    upload: values.upload === undefined ? undefined : Number(values.upload),
  }));
  const queue = jobs.values();
  const worker = async () => {
    for (const job of queue) {
      const result = await fetchOnce(job);
      const failed = result.error !== undefined || result.status !== 200 || result.intact === false;
      if (failed) process.exitCode = 1;
      emit({ ...result });
    }
  };
  await Promise.all(Array.from({ length: Number(values.concurrency) }, worker));
}

await main();
