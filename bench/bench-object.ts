/** The programs of bpf/bench.bpf.c: packets made by the million, sent through other programs or into an interface, and counted. */
import { join } from "node:path";
import { parseBtf, structCodec } from "../src/dataplane/btf.ts";
import * as bpf from "../src/dataplane/libbpf.ts";
import { buildSketch, tcp, udp } from "../src/dataplane/model/sketch.ts";
import { address } from "../src/model/ipv4.ts";

const OBJECT = join(import.meta.dirname, "../build/bench.bpf.o");
const FRAME_BYTES = 64;
const PORTION = 50_000;
const KEY = Buffer.alloc(4);

/** So many source ports, each with so many destination ports, are used in turn. */
export interface Spread {
  readonly sources: number;
  readonly destinations: number;
}

export interface BenchObject {
  /** What the next runs send. `ifindex` is where `generate` sends to. */
  setFrame(frame: Buffer, spread: Spread, ifindex?: number): void;
  setTarget(program: number): void;
  /** Mean nanoseconds of a run on a fresh packet each time; `floor` makes the packet only. Throws unless the last verdict is that. */
  nanoseconds(what: "target" | "floor", ifindex: number, repeat: number, verdict: number): number;
  /** Sends frames into the interface that was set; returns the seconds that it took. */
  generate(packets: number): number;
  readonly sinkProgram: number;
  /** Packets that the sink has dropped so far. */
  received(): number;
}

export function loadBenchObject(): BenchObject {
  const object = bpf.loadObject(OBJECT, { maxEntries: {}, reuse: {} });
  const layout = parseBtf(bpf.readBtf(OBJECT)).struct("bench", [
    "frame",
    "sources",
    "destinations",
    "ifindex",
    "next",
  ]);
  const codec = structCodec<{
    frame: readonly number[];
    sources: number;
    destinations: number;
    ifindex: number;
    next: number;
  }>(layout);
  const anyFrame = Buffer.alloc(FRAME_BYTES);
  return {
    setFrame(frame, spread, ifindex = 0) {
      bpf.update(
        object.mapFd("bench"),
        KEY,
        codec.encode({ frame: [...frame], ...spread, ifindex, next: 0 }),
      );
    },
    setTarget(program) {
      const value = Buffer.alloc(4);
      value.writeUInt32LE(program);
      bpf.update(object.mapFd("target"), KEY, value);
    },
    nanoseconds(what, ifindex, repeat, verdict) {
      const run = bpf.testRun(object.programFd(`bench_${what}`), anyFrame, { ifindex, repeat });
      if (run.verdict !== verdict) throw new Error(`the program answered ${run.verdict}, not ${verdict}`);
      return run.nanoseconds;
    },
    generate(packets) {
      const start = performance.now();
      // In portions, since a run that a signal interrupts is begun again.
      for (let sent = 0; sent < packets; sent += PORTION) {
        bpf.testRun(object.programFd("bench_generate"), anyFrame, {
          repeat: Math.min(PORTION, packets - sent),
          live: true,
        });
      }
      return (performance.now() - start) / 1000;
    },
    sinkProgram: object.programFd("bench_sink"),
    received() {
      const cpus = bpf.possibleCpus();
      const values = bpf.lookup(object.mapFd("received"), KEY, 8 * cpus)!;
      return Array.from({ length: cpus }, (_, cpu) => Number(values.readBigUInt64LE(8 * cpu))).reduce(
        (a, b) => a + b,
      );
    },
  };
}

/** A frame of 64 bytes; its ports are filled in by the program. UDP has no checksum, so that it stays right. */
export function frameOf(
  protocol: "tcp" | "udp",
  source: string,
  destination: string,
  flags = 2,
  toMac?: string,
): Buffer {
  const ports = { sourcePort: 0, destinationPort: 0 };
  const transport = protocol === "tcp" ? tcp({ ...ports, flags }) : udp({ ...ports, checksum: false });
  const ip = { source: address(source), destination: address(destination) };
  const frame = buildSketch({ ip, transport, ...(toMac ? { ethernet: { destination: toMac } } : {}) });
  return Buffer.concat([frame, Buffer.alloc(FRAME_BYTES - frame.length)]);
}
