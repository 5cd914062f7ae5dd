/**
 * Layouts of C structures from BTF, the type information that the compiler leaves in the object file, so that TypeScript and C
 * cannot drift apart. Format: the kernel's Documentation/bpf/btf.rst.
 */
import { NattoError } from "../errors.ts";

/** A number (up to 32 bits), a 64-bit number, or an array of numbers: what a member of our structures can be. */
export type MemberValue = number | bigint | readonly number[];

interface Member {
  readonly name: string;
  /** Bytes from the start of the structure. */
  readonly offset: number;
  /** Bytes of one element: 1, 2, 4 or 8; 0 for an opaque member such as a timer. */
  readonly width: number;
  /** Number of elements of an array; undefined for a plain number. */
  readonly length: number | undefined;
}

export interface StructLayout {
  readonly name: string;
  readonly size: number;
  readonly members: readonly Member[];
}

export interface Layouts {
  /** The layout of a structure. Throws when the object has none of that name, or when its members are not exactly these. */
  struct(name: string, members: readonly string[]): StructLayout;
  /** The names of an enum's values, in order of value; throws when there is none. */
  enumNames(name: string): readonly string[];
}

const INT = 1;
export const ARRAY = 3;
export const STRUCT = 4;
export const UNION = 5;
export const ENUM = 6;
export const TYPEDEF = 8;
/** Kinds that only say something about another type: typedef, volatile, const, restrict, type_tag. */
export const MODIFIERS: readonly number[] = [TYPEDEF, 9, 10, 11, 18];

/** All types of an object or a map. */
export interface Btf {
  readonly raw: Buffer;
  /** By number; 0 is void. */
  readonly types: readonly BtfType[];
  /** The string at an offset of the string section. */
  text(at: number): string;
}

export interface BtfType {
  readonly kind: number;
  readonly name: string;
  readonly vlen: number;
  /** `size` or `type`, by kind. */
  readonly sizeOrType: number;
  /** Where the data that follow the common part begin. */
  readonly data: number;
}

/** How many bytes follow the common part of a type, by kind. */
function extraBytes(kind: number, vlen: number): number {
  const perMember: Record<number, number> = { 4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12 };
  const fixed: Record<number, number> = { 1: 4, 3: 12, 14: 4, 17: 4 };
  return fixed[kind] ?? (perMember[kind] ?? 0) * vlen;
}

/** Reads raw BTF; throws when it is none. */
export function readTypes(raw: Buffer): Btf {
  if (raw.readUInt16LE(0) !== 0xeb9f)
    throw new NattoError("Environment", "the dataplane object has no BTF; build it with 'make bpf'");
  const headerLength = raw.readUInt32LE(4);
  const [typeOffset, typeLength, stringOffset] = [8, 12, 16].map((at) => raw.readUInt32LE(at)) as [
    number,
    number,
    number,
  ];
  const text = (at: number): string => {
    const start = headerLength + stringOffset + at;
    return raw.toString("utf8", start, raw.indexOf(0, start));
  };
  const types: BtfType[] = [{ kind: 0, name: "void", vlen: 0, sizeOrType: 0, data: 0 }];
  const end = headerLength + typeOffset + typeLength;
  for (let at = headerLength + typeOffset; at < end; ) {
    const info = raw.readUInt32LE(at + 4);
    const [kind, vlen] = [(info >>> 24) & 0x1f, info & 0xffff];
    types.push({
      kind,
      name: text(raw.readUInt32LE(at)),
      vlen,
      sizeOrType: raw.readUInt32LE(at + 8),
      data: at + 12,
    });
    at += 12 + extraBytes(kind, vlen);
  }
  return { raw, types, text };
}

/** Parses the raw BTF of an object file. */
export function parseBtf(raw: Buffer): Layouts {
  const { types, text } = readTypes(raw);
  const resolve = (id: number): BtfType => {
    let type = types[id]!;
    while (MODIFIERS.includes(type.kind)) type = types[type.sizeOrType]!;
    return type;
  };
  const find = (kind: number, name: string): BtfType => {
    const type = types.find((t) => t.kind === kind && t.name === name);
    if (!type)
      throw new NattoError(
        "Environment",
        `the dataplane object has no type '${name}'; build it anew with 'make bpf'`,
      );
    return type;
  };
  const member = (at: number): Member => {
    const name = text(raw.readUInt32LE(at));
    const offset = (raw.readUInt32LE(at + 8) & 0xffffff) / 8;
    const type = resolve(raw.readUInt32LE(at + 4));
    if (type.kind === ARRAY) {
      const element = resolve(raw.readUInt32LE(type.data));
      return { name, offset, width: element.sizeOrType, length: raw.readUInt32LE(type.data + 8) };
    }
    return {
      name,
      offset,
      width: type.kind === INT || type.kind === ENUM ? type.sizeOrType : 0,
      length: undefined,
    };
  };
  return {
    struct(name, expected) {
      const type = find(STRUCT, name);
      const members = Array.from({ length: type.vlen }, (_, i) => member(type.data + 12 * i));
      const found = members.map((m) => m.name);
      if (found.length !== expected.length || !expected.every((m) => found.includes(m))) {
        throw new NattoError(
          "Environment",
          `the dataplane object's 'struct ${name}' has the members ${found.join(", ")}; this version of Natto expects ${expected.join(", ")}; build it anew with 'make bpf'`,
        );
      }
      return { name, size: type.sizeOrType, members };
    },
    enumNames(name) {
      const type = find(ENUM, name);
      const values = Array.from({ length: type.vlen }, (_, i) => ({
        name: text(raw.readUInt32LE(type.data + 8 * i)),
        value: raw.readInt32LE(type.data + 8 * i + 4),
      }));
      return values.sort((a, b) => a.value - b.value).map((v) => v.name);
    },
  };
}

function readNumber(buffer: Buffer, at: number, width: number): number | bigint {
  if (width === 8) return buffer.readBigUInt64LE(at);
  return width === 0 ? 0 : buffer.readUIntLE(at, width);
}

function writeNumber(buffer: Buffer, at: number, width: number, value: number | bigint): void {
  if (width === 8) buffer.writeBigUInt64LE(BigInt(value), at);
  else if (width !== 0) buffer.writeUIntLE(Number(value), at, width);
}

/** A structure's codec. `T` names its members; those of network byte order are handled by the caller (see `swap16`, `swap32`). */
export interface Codec<T> {
  readonly size: number;
  encode(value: T): Buffer;
  /** Writes into an existing buffer, at a byte offset. */
  encodeInto(value: T, buffer: Buffer, at: number): void;
  decode(buffer: Buffer, at?: number): T;
  /** Reads one member of at most 4 bytes of the structure at a byte offset: quicker than decoding all of them. */
  reader(member: keyof T & string): (buffer: Buffer, at: number) => number;
}

/** Makes the codec of a structure. The members of `T` must be exactly those of the structure; opaque ones read as 0. */
export function structCodec<T extends { readonly [K in keyof T]: MemberValue }>(
  layout: StructLayout,
): Codec<T> {
  const encodeInto = (value: T, buffer: Buffer, at: number): void => {
    for (const { name, offset, width, length } of layout.members) {
      const field = value[name as keyof T] as MemberValue;
      if (length === undefined) writeNumber(buffer, at + offset, width, field as number | bigint);
      else
        for (let i = 0; i < length; i++)
          writeNumber(buffer, at + offset + i * width, width, (field as readonly number[])[i] ?? 0);
    }
  };
  return {
    size: layout.size,
    encodeInto,
    encode(value) {
      const buffer = Buffer.alloc(layout.size);
      encodeInto(value, buffer, 0);
      return buffer;
    },
    reader(member) {
      const found = layout.members.find(({ name }) => name === member);
      if (!found || found.width > 4 || found.length !== undefined) {
        throw new RangeError(`${layout.name}.${member} is no number of at most 4 bytes`);
      }
      const { offset, width } = found;
      return (buffer, at) => Number(readNumber(buffer, at + offset, width));
    },
    decode(buffer, at = 0) {
      const entries = layout.members.map(({ name, offset, width, length }) => [
        name,
        length === undefined
          ? readNumber(buffer, at + offset, width)
          : Array.from({ length }, (_, i) => Number(readNumber(buffer, at + offset + i * width, width))),
      ]);
      return Object.fromEntries(entries) as T;
    },
  };
}

/** Between host order (a number) and the network order in which the program keeps addresses. */
export function swap32(value: number): number {
  return (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

/** The same for ports. */
export function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}
