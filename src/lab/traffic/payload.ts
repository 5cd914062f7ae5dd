/** Bodies of any length whose every byte is known to both sides. */
import { createHash } from "node:crypto";

const CHUNK_BYTES = 64 * 1024;

/** The first `length` bytes of the sequence, in chunks. No two chunks are alike, so none can be lost or change places unnoticed. */
export function* payload(length: number): Generator<Buffer> {
  for (let offset = 0; offset < length; offset += CHUNK_BYTES) {
    yield chunk(offset / CHUNK_BYTES).subarray(0, length - offset);
  }
}

/** SHA-256 of the first `length` bytes, in hex. */
export function payloadDigest(length: number): string {
  const hash = createHash("sha256");
  for (const part of payload(length)) hash.update(part);
  return hash.digest("hex");
}

/** Marsaglia's xorshift32, seeded with the chunk's number. */
function chunk(index: number): Buffer {
  const words = new Uint32Array(CHUNK_BYTES / 4);
  let x = (index * 0x9e3779b9 + 1) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return Buffer.from(words.buffer);
}
