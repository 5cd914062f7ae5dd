/**
 * libbpf through koffi: the few calls that Natto needs, with numbers and Buffers in, results or NattoErrors out. File descriptors
 * are plain numbers that the caller closes with `closeFd`.
 */
import { closeSync } from "node:fs";
import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import koffi from "koffi";
import { NattoError } from "../errors.ts";

function loadLibrary() {
  try {
    return koffi.load("libbpf.so.1");
  } catch (error) {
    throw new NattoError(
      "Environment",
      "libbpf 1.x is missing; install it with 'apt-get install libbpf1'",
      [],
      error,
    );
  }
}

const lib = loadLibrary();
const SampleCallback = koffi.proto("int SampleCallback(void *ctx, void *data, size_t size)");

/** A C function's return value: negative errno on failure (libbpf 1.x). */
type IntFunction = (...args: (number | bigint | string | Buffer | null)[]) => number;
type PointerFunction = (...args: (number | bigint | string | Buffer | null)[]) => bigint | null;

const c = {
  setPrint: lib.func("void *libbpf_set_print(void *callback)") as PointerFunction,
  objectOpen: lib.func("void *bpf_object__open_file(const char *path, void *opts)") as PointerFunction,
  objectLoad: lib.func("int bpf_object__load(void *object)") as IntFunction,
  objectClose: lib.func("void bpf_object__close(void *object)") as PointerFunction,
  findMap: lib.func("void *bpf_object__find_map_by_name(void *object, const char *name)") as PointerFunction,
  findProgram: lib.func(
    "void *bpf_object__find_program_by_name(void *object, const char *name)",
  ) as PointerFunction,
  mapFd: lib.func("int bpf_map__fd(void *map)") as IntFunction,
  mapKeySize: lib.func("uint32_t bpf_map__key_size(void *map)") as IntFunction,
  mapValueSize: lib.func("uint32_t bpf_map__value_size(void *map)") as IntFunction,
  mapKeyType: lib.func("uint32_t bpf_map__btf_key_type_id(void *map)") as IntFunction,
  mapValueType: lib.func("uint32_t bpf_map__btf_value_type_id(void *map)") as IntFunction,
  mapMaxEntries: lib.func("uint32_t bpf_map__max_entries(void *map)") as IntFunction,
  mapSetMaxEntries: lib.func("int bpf_map__set_max_entries(void *map, uint32_t entries)") as IntFunction,
  mapReuseFd: lib.func("int bpf_map__reuse_fd(void *map, int fd)") as IntFunction,
  programFd: lib.func("int bpf_program__fd(void *program)") as IntFunction,
  btfParse: lib.func("void *btf__parse_elf(const char *path, void *ext)") as PointerFunction,
  btfOfKernel: lib.func("void *btf__load_from_kernel_by_id(uint32_t id)") as PointerFunction,
  btfRaw: lib.func("void *btf__raw_data(void *btf, void *size)") as PointerFunction,
  btfFree: lib.func("void btf__free(void *btf)") as PointerFunction,
  lookup: lib.func("int bpf_map_lookup_elem(int fd, void *key, void *value)") as IntFunction,
  update: lib.func("int bpf_map_update_elem(int fd, void *key, void *value, uint64_t flags)") as IntFunction,
  remove: lib.func("int bpf_map_delete_elem(int fd, void *key)") as IntFunction,
  takeOut: lib.func("int bpf_map_lookup_and_delete_elem(int fd, void *key, void *value)") as IntFunction,
  lookupBatch: lib.func(
    "int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, void *count, void *opts)",
  ) as IntFunction,
  updateBatch: lib.func(
    "int bpf_map_update_batch(int fd, void *keys, void *values, void *count, void *opts)",
  ) as IntFunction,
  pin: lib.func("int bpf_obj_pin(int fd, const char *path)") as IntFunction,
  get: lib.func("int bpf_obj_get(const char *path)") as IntFunction,
  info: lib.func("int bpf_obj_get_info_by_fd(int fd, void *info, void *length)") as IntFunction,
  linkCreate: lib.func("int bpf_link_create(int program, int target, int type, void *opts)") as IntFunction,
  linkUpdate: lib.func("int bpf_link_update(int link, int program, void *opts)") as IntFunction,
  linkDetach: lib.func("int bpf_link_detach(int link)") as IntFunction,
  testRun: lib.func("int bpf_prog_test_run_opts(int program, void *opts)") as IntFunction,
  ringNew: lib.func("void *ring_buffer__new(int fd, SampleCallback *read, void *ctx, void *opts)") as (
    fd: number,
    read: bigint,
    ctx: null,
    opts: null,
  ) => bigint | null,
  ringConsume: lib.func("int ring_buffer__consume(void *ring)") as IntFunction,
  ringFree: lib.func("void ring_buffer__free(void *ring)") as PointerFunction,
  cpus: lib.func("int libbpf_num_possible_cpus()") as IntFunction,
};

// libbpf's own messages would go to stderr in the middle of ours; errors are reported by our texts.
if (!process.env.NATTO_LIBBPF_MESSAGES) c.setPrint(null);

const BPF_XDP = 37;
const ENOENT = 2;
const EINTR = 4;

/** Builds the error of a failed call: what was being done, and what the kernel said. */
function failure(doing: string, code: number): NattoError {
  const errno = code < 0 ? code : -koffi.errno();
  const hint = getSystemErrorName(errno) === "EPERM" ? "; run as root (CAP_BPF, CAP_NET_ADMIN)" : "";
  return new NattoError(
    "Environment",
    `${doing}: ${getSystemErrorMessage(errno)} (${getSystemErrorName(errno)})${hint}`,
  );
}

function check(code: number, doing: string): number {
  if (code < 0) throw failure(doing, code);
  return code;
}

function checkPointer(pointer: bigint | null, doing: string): bigint {
  if (!pointer) throw failure(doing, 0);
  return pointer;
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

export function closeFd(fd: number): void {
  closeSync(fd);
}

export interface LoadedObject {
  mapFd(name: string): number;
  programFd(name: string): number;
  /** Closes all descriptors that the object holds. */
  close(): void;
}

export interface LoadOptions {
  /** Map name → number of entries, where it differs from the object's. */
  readonly maxEntries: Readonly<Record<string, number>>;
  /** Map name → descriptor of an existing map that takes its place. */
  readonly reuse: Readonly<Record<string, number>>;
}

const EAGAIN = 11;

/** Opens, verifies and loads a BPF object file; maps that are not reused are created. */
export function loadObject(path: string, options: LoadOptions): LoadedObject {
  // A signal (of a timer, a profiler, a child) interrupts the verifier; libbpf tries again a few times, and so do we.
  for (let attempt = 1; ; attempt++) {
    const loaded = tryLoad(path, options);
    if (typeof loaded !== "number") return loaded;
    if (loaded !== -EAGAIN || attempt === 5) {
      throw failure("the kernel refused the dataplane program (NATTO_LIBBPF_MESSAGES=1 shows why)", loaded);
    }
  }
}

/** Returns the negative errno if the kernel refuses. */
function tryLoad(path: string, options: LoadOptions): LoadedObject | number {
  const object = checkPointer(c.objectOpen(path, null), `cannot open the BPF object ${path}`);
  const map = (name: string) => checkPointer(c.findMap(object, name), `the BPF object has no map '${name}'`);
  try {
    for (const [name, entries] of Object.entries(options.maxEntries)) {
      check(c.mapSetMaxEntries(map(name), entries), `cannot size map '${name}' to ${entries} entries`);
    }
    for (const [name, fd] of Object.entries(options.reuse)) {
      check(c.mapReuseFd(map(name), fd), `cannot reuse map '${name}'`);
    }
  } catch (error) {
    c.objectClose(object);
    throw error;
  }
  const code = c.objectLoad(object);
  if (code < 0) {
    c.objectClose(object);
    return code;
  }
  return {
    mapFd: (name) => check(c.mapFd(map(name)), `map '${name}' has no descriptor`),
    programFd: (name) => {
      const program = checkPointer(c.findProgram(object, name), `the BPF object has no program '${name}'`);
      return check(c.programFd(program), `program '${name}' has no descriptor`);
    },
    close: () => void c.objectClose(object),
  };
}

/** A map as an object file declares it; sizes in bytes. Types are numbers in the object's BTF, 0 where nothing is said. */
export interface MapDefinition extends Pick<MapInfo, "keySize" | "valueSize" | "maxEntries"> {
  readonly keyType: number;
  readonly valueType: number;
}

/** How an object file declares these maps; nothing is loaded. */
export function mapDefinitions<N extends string>(
  path: string,
  names: readonly N[],
): ReadonlyMap<N, MapDefinition> {
  const object = checkPointer(c.objectOpen(path, null), `cannot open the BPF object ${path}`);
  try {
    return new Map(
      names.map((name) => {
        const map = checkPointer(c.findMap(object, name), `the BPF object has no map '${name}'`);
        const [keySize, valueSize] = [c.mapKeySize(map), c.mapValueSize(map)];
        const [keyType, valueType] = [c.mapKeyType(map), c.mapValueType(map)];
        return [name, { keySize, valueSize, maxEntries: c.mapMaxEntries(map), keyType, valueType }];
      }),
    );
  } finally {
    c.objectClose(object);
  }
}

/** The raw BTF (type information) of an object file. */
export function readBtf(path: string): Buffer {
  return rawBtf(checkPointer(c.btfParse(path, null), `cannot read the BTF of ${path}`), path);
}

/** What the kernel keeps of the types of a map; undefined when it was made without any. */
export function readMapBtf(
  fd: number,
): { readonly raw: Buffer; readonly keyType: number; readonly valueType: number } | undefined {
  const info = objectInfo(fd);
  const [id, keyType, valueType] = [64, 68, 72].map((at) => info.readUInt32LE(at)) as [
    number,
    number,
    number,
  ];
  if (id === 0) return undefined;
  const btf = checkPointer(c.btfOfKernel(id), "cannot read the BTF of a map");
  return { raw: rawBtf(btf, "a map"), keyType, valueType };
}

function rawBtf(btf: bigint, of: string): Buffer {
  const size = Buffer.alloc(4);
  const data = checkPointer(c.btfRaw(btf, size), `cannot read the BTF of ${of}`);
  const copy = Buffer.from(new Uint8Array(koffi.view(data, size.readUInt32LE())));
  c.btfFree(btf);
  return copy;
}

/** Opens a pinned object; undefined when nothing is pinned there. */
export function openPin(path: string): number | undefined {
  const fd = c.get(path);
  if (fd === -ENOENT) return undefined;
  return check(fd, `cannot open the pin ${path}`);
}

export function pin(fd: number, path: string): void {
  check(c.pin(fd, path), `cannot pin at ${path}`);
}

function objectInfo(fd: number): Buffer {
  const info = Buffer.alloc(256);
  check(c.info(fd, info, uint32(info.length)), "cannot read the kernel's description of a BPF object");
  return info;
}

export interface MapInfo {
  readonly type: number;
  /** Unlike any other map's, as long as the machine runs. */
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
}

/** `struct bpf_map_info`: type, id, key_size, value_size, max_entries; from byte 64 on btf_id, btf_key_type_id, btf_value_type_id. */
export function mapInfo(fd: number): MapInfo {
  const info = objectInfo(fd);
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    keySize: info.readUInt32LE(8),
    valueSize: info.readUInt32LE(12),
    maxEntries: info.readUInt32LE(16),
  };
}

/** `struct bpf_prog_info`: type, id. */
export function programId(fd: number): number {
  return objectInfo(fd).readUInt32LE(4);
}

/** `struct bpf_link_info` of an XDP link: type, id, prog_id, ifindex (0 when the link is detached). */
export function linkInfo(fd: number): { readonly programId: number; readonly ifindex: number } {
  const info = objectInfo(fd);
  return { programId: info.readUInt32LE(8), ifindex: info.readUInt32LE(16) };
}

/** Attaches an XDP program to an interface; it stays while the link has a descriptor or a pin. */
export function createXdpLink(program: number, ifindex: number, interfaceName: string): number {
  const fd = c.linkCreate(program, ifindex, BPF_XDP, null);
  if (fd >= 0) return fd;
  const error = failure(`cannot attach to interface ${interfaceName}`, fd);
  const name = getSystemErrorName(fd);
  if (name !== "EBUSY" && name !== "EEXIST") throw error;
  throw new NattoError(
    "Environment",
    `interface ${interfaceName} has an XDP program that is not Natto's; remove it with 'ip link set dev ${interfaceName} xdp off' or 'bpftool link'`,
  );
}

/** Puts another program in the place of the link's, atomically. */
export function updateLink(link: number, program: number): void {
  check(c.linkUpdate(link, program, null), "cannot replace the attached program");
}

/** Detaches a link at once, whoever else holds it. */
export function detachLink(link: number): void {
  check(c.linkDetach(link), "cannot detach the program");
}

/** The value of a key, or undefined. For per-CPU maps `valueSize` is that of all CPUs together. */
export function lookup(map: number, key: Buffer, valueSize: number): Buffer | undefined {
  const value = Buffer.alloc(valueSize);
  const code = c.lookup(map, key, value);
  if (code === -ENOENT) return undefined;
  check(code, "cannot read a map entry");
  return value;
}

export function update(map: number, key: Buffer, value: Buffer): void {
  check(c.update(map, key, value, 0), "cannot write a map entry");
}

/** Deletes a key; false when it was not there. */
export function remove(map: number, key: Buffer): boolean {
  const code = c.remove(map, key);
  if (code === -ENOENT) return false;
  check(code, "cannot delete a map entry");
  return true;
}

/** Empties a stack of 32-bit numbers. */
export function drain(map: number): void {
  const value = Buffer.alloc(4);
  while (c.takeOut(map, null, value) === 0);
}

/** Writes `count` consecutive entries. */
export function updateBatch(map: number, keys: Buffer, values: Buffer, count: number): void {
  if (count === 0) return;
  check(c.updateBatch(map, keys, values, uint32(count), null), `cannot write ${count} map entries`);
}

export interface Entries {
  readonly count: number;
  readonly keys: Buffer;
  readonly values: Buffer;
}

/** Entries read in one call: more than a bucket of a hash map ever holds. */
const BATCH = 4096;

/** Reads up to `limit` entries (all, when it is the map's size), a part at a time, in the map's own order; arrays from index 0. */
export function* readBatches(map: number, info: MapInfo, limit = info.maxEntries): Generator<Entries> {
  // Hash maps store a 32-bit cursor there, others a key.
  let cursor: Buffer | null = null;
  let read = 0;
  while (read < limit) {
    const size = Math.min(BATCH, limit - read);
    const next = Buffer.alloc(Math.max(info.keySize, 4));
    const batch = {
      keys: Buffer.alloc(size * info.keySize),
      values: Buffer.alloc(size * info.valueSize),
      count: uint32(size),
    };
    const code = c.lookupBatch(map, cursor, next, batch.keys, batch.values, batch.count, null);
    if (code !== 0 && code !== -ENOENT) throw failure("cannot read a map", code);
    const count = batch.count.readUInt32LE();
    yield {
      count,
      keys: batch.keys.subarray(0, count * info.keySize),
      values: batch.values.subarray(0, count * info.valueSize),
    };
    read += count;
    if (code === -ENOENT) break;
    cursor = next;
  }
}

/** The same at once. */
export function readEntries(map: number, info: MapInfo, limit = info.maxEntries): Entries {
  const parts = [...readBatches(map, info, limit)];
  return {
    count: parts.reduce((sum, part) => sum + part.count, 0),
    keys: Buffer.concat(parts.map((part) => part.keys)),
    values: Buffer.concat(parts.map((part) => part.values)),
  };
}

export interface RingBuffer {
  /** Hands over all that lies in it, oldest first. A buffer is the reader's to keep. */
  drain(read: (entry: Buffer) => void): void;
  close(): void;
}

/** Opens a ring buffer's map for reading. There must be one reader at a time. */
export function openRingBuffer(map: number): RingBuffer {
  let reader: ((entry: Buffer) => void) | undefined;
  const callback = koffi.register((_ctx: unknown, data: unknown, size: number | bigint): number => {
    reader?.(Buffer.from(Buffer.from(koffi.view(data, Number(size)))));
    return 0;
  }, koffi.pointer(SampleCallback));
  const ring = checkPointer(c.ringNew(map, callback, null, null), "cannot open a ring buffer");
  return {
    drain(read) {
      reader = read;
      check(c.ringConsume(ring), "cannot read a ring buffer");
      reader = undefined;
    },
    close() {
      c.ringFree(ring);
      koffi.unregister(callback);
    },
  };
}

/** Number of values in an entry of a per-CPU map. */
export function possibleCpus(): number {
  return check(c.cpus(), "cannot count the CPUs");
}

export interface TestRun {
  /** The program's return value: an XDP verdict. */
  readonly verdict: number;
  readonly packet: Buffer;
  /** Mean duration of a run in nanoseconds, as the kernel measured it. */
  readonly nanoseconds: number;
}

export interface TestRunOptions {
  /** The interface that the packet seems to have come in on; the loopback device if not given. */
  readonly ifindex?: number;
  readonly repeat?: number;
  /** Carries out the verdicts: frames are redirected, passed or dropped for real, and no packet is returned. */
  readonly live?: boolean;
}

const TEST_XDP_LIVE_FRAMES = 2;
const BATCH_OF_FRAMES = 128;

/**
 * Runs a program on a packet (BPF_PROG_TEST_RUN). See `struct bpf_test_run_opts` and the kernel's
 * Documentation/bpf/bpf_prog_run.rst. A repeated run that is not live hands the program its own output.
 */
export function testRun(program: number, packet: Buffer, options: TestRunOptions = {}): TestRun {
  const { ifindex = 0, repeat = 1, live = false } = options;
  const output = Buffer.alloc(live ? 0 : packet.length + 512);
  const context = Buffer.alloc(24); // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
  context.writeUInt32LE(packet.length, 4);
  context.writeUInt32LE(ifindex, 12);
  const opts = Buffer.alloc(80);
  opts.writeBigUInt64LE(BigInt(opts.length), 0);
  opts.writeBigUInt64LE(koffi.address(packet), 8);
  opts.writeBigUInt64LE(live ? 0n : koffi.address(output), 16);
  opts.writeUInt32LE(packet.length, 24);
  opts.writeUInt32LE(output.length, 28);
  opts.writeBigUInt64LE(ifindex ? koffi.address(context) : 0n, 32);
  opts.writeUInt32LE(ifindex ? context.length : 0, 48);
  opts.writeInt32LE(repeat, 60);
  opts.writeUInt32LE(live ? TEST_XDP_LIVE_FRAMES : 0, 68);
  opts.writeUInt32LE(live ? BATCH_OF_FRAMES : 0, 76);
  let code = c.testRun(program, opts);
  // A signal ends a run early; the kernel wants to be asked again.
  for (let attempt = 1; code === -EINTR && attempt < 10; attempt++) code = c.testRun(program, opts);
  check(code, "cannot run the program on a packet");
  return {
    verdict: opts.readUInt32LE(56),
    packet: output.subarray(0, opts.readUInt32LE(28)),
    nanoseconds: opts.readUInt32LE(64),
  };
}

const ifNameToIndex = koffi
  .load("libc.so.6")
  .func("unsigned int if_nametoindex(const char *name)") as IntFunction;

/** The index of a network interface in this process's network namespace; undefined when there is none of that name. */
export function interfaceIndex(name: string): number | undefined {
  return ifNameToIndex(name) || undefined;
}
