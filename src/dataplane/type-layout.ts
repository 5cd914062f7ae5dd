/**
 * What a BTF type says about every byte, in lines for people: so that a map that another version of the program made can be told from one
 * of ours even when both have the same size. Format: the kernel's Documentation/bpf/btf.rst.
 */
import { ARRAY, type Btf, type BtfType, ENUM, MODIFIERS, STRUCT, TYPEDEF, UNION } from "./btf.ts";

/** A type, line by line. */
export interface TypeLayout {
  /** One for each member that is no structure itself: `__u32 flow.record at 0`. Arrays have their length: `__u32 gateway.timeouts[5] at 12`. */
  readonly members: readonly string[];
  /** One for each value of each enum that a member has: `record_kind.SESSION = 1`. */
  readonly values: readonly string[];
}

/** The layout of the type with this number. */
export function layoutOfType(btf: Btf, id: number): TypeLayout {
  const members: string[] = [];
  const values = new Set<string>();
  visit(btf, id, "", 0, (type, line) => {
    members.push(line);
    if (type.kind === ENUM) for (const value of enumValues(btf, type)) values.add(value);
  });
  return { members, values: [...values] };
}

/**
 * How a layout that was found differs from the one that is wanted; undefined when a program that wants the one can use the other. Every
 * member must be the same, by name, type and place. An enum may have got further values: what is found has none of them.
 */
export function layoutDifference(found: TypeLayout, wanted: TypeLayout): string | undefined {
  const missing = (of: readonly string[], among: readonly string[]) =>
    of.filter((line) => !among.includes(line));
  const parts = [
    tell("it has", missing(found.members, wanted.members)),
    tell("it lacks", missing(wanted.members, found.members)),
    tell("it may hold", missing(found.values, wanted.values)),
  ];
  return parts.filter((part) => part !== undefined).join("; ") || undefined;
}

/** More than these tell nobody more. */
const TOLD_LINES = 3;

function tell(how: string, lines: readonly string[]): string | undefined {
  if (lines.length === 0) return undefined;
  const told = lines.slice(0, TOLD_LINES).map((line) => `'${line}'`);
  const more = lines.length - told.length;
  return `${how} ${told.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

type Visitor = (type: BtfType, line: string) => void;

/** Goes through a type; `bits` is where it begins in the outermost one. */
function visit(btf: Btf, id: number, path: string, bits: number, visitor: Visitor): void {
  const { name, type } = named(btf, id);
  const place = path === "" ? "the whole" : path;
  // What is opaque, such as a timer, has no members of its own.
  if ((type.kind === STRUCT || type.kind === UNION) && type.vlen > 0) {
    const inside = path === "" ? type.name : path;
    for (let i = 0; i < type.vlen; i++) {
      const at = type.data + 12 * i;
      const member = btf.text(btf.raw.readUInt32LE(at)) || "(unnamed)";
      // With bit fields in the structure the upper byte is the number of bits.
      const offset = btf.raw.readUInt32LE(at + 8) & 0xffffff;
      visit(btf, btf.raw.readUInt32LE(at + 4), `${inside}.${member}`, bits + offset, visitor);
    }
    return;
  }
  if (type.kind === ARRAY) {
    const length = btf.raw.readUInt32LE(type.data + 8);
    const element = named(btf, btf.raw.readUInt32LE(type.data));
    visitor(element.type, `${element.name} ${place}[${length}] at ${bits / 8}`);
    // The structures of an array lie one like the other.
    if (element.type.kind === STRUCT) {
      visit(btf, btf.raw.readUInt32LE(type.data), `${place}[]`, 0, visitor);
    }
    return;
  }
  visitor(type, `${name} ${place} at ${bits / 8}`);
}

/** A type without what is only said about it, by the name that the program gives it: __be32 and __u32 are not the same. */
function named(btf: Btf, id: number): { readonly name: string; readonly type: BtfType } {
  let type = btf.types[id]!;
  let name = "";
  while (MODIFIERS.includes(type.kind)) {
    if (name === "" && type.kind === TYPEDEF) name = type.name;
    type = btf.types[type.sizeOrType]!;
  }
  return { name: name || type.name || `type of kind ${type.kind}`, type };
}

function enumValues({ raw, text }: Btf, type: BtfType): readonly string[] {
  return Array.from({ length: type.vlen }, (_, i) => {
    const at = type.data + 8 * i;
    return `${type.name}.${text(raw.readUInt32LE(at))} = ${raw.readInt32LE(at + 4)}`;
  });
}
