/**
 * Facts: what `natto describe` and `natto whois` know about something, as plain data. One value, two forms: JSON or YAML for
 * programs, and the text made here for people. Pure.
 */
import { columnWidths, tableLines } from "./table.ts";

export type Scalar = string | number | boolean;
/** A row of a table. */
export type Row = Readonly<Record<string, Scalar | readonly Scalar[]>>;
export type Fact = Scalar | readonly Scalar[] | Row | readonly Row[];
/** Facts by name, in the order in which they are shown. */
export type Facts = Readonly<Record<string, Fact>>;

/** At most so many items of a list are shown to people; programs get all. */
const MAX_SHOWN = 8;

/** The text for people, with its last line end. Fields come first, aligned; then maps and tables, each under its title. */
export function factsText(facts: Facts): string {
  const entries = Object.entries(facts);
  const fields = entries
    .filter(([, fact]) => isField(fact))
    .map(([name, fact]) => [`${title(name)}:`, fieldText(fact)]);
  const blocks = entries
    .filter(([, fact]) => !isField(fact))
    .map(([name, fact]) => `${title(name)}:\n${blockText(fact)}`);
  return [...(fields.length > 0 ? [tableLines(fields).join("\n")] : []), ...blocks]
    .map((part) => `${part}\n`)
    .join("");
}

function isField(fact: Fact): boolean {
  if (Array.isArray(fact)) return fact.length === 0 || typeof fact[0] !== "object";
  return typeof fact !== "object" || Object.keys(fact).length === 0;
}

function fieldText(fact: Fact): string {
  if (Array.isArray(fact)) return listText(fact);
  if (typeof fact === "object") return "none";
  return scalarText(fact);
}

function scalarText(value: Scalar): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

function listText(items: readonly unknown[]): string {
  if (items.length === 0) return "none";
  const more = items.length - MAX_SHOWN;
  const shown = items.slice(0, MAX_SHOWN).join(", ");
  return more > 0 ? `${shown} … and ${more} more` : shown;
}

function blockText(fact: Fact): string {
  const rows = isRows(fact)
    ? rowsTable(fact)
    : Object.entries(fact).map(([key, value]) => [key, fieldText(value)]);
  return tableLines(rows, columnWidths(rows))
    .map((line) => `  ${line}`)
    .join("\n");
}

function isRows(fact: Fact): fact is readonly Row[] {
  return Array.isArray(fact);
}

/** A header of all columns that any of the rows has, and the rows. */
function rowsTable(rows: readonly Row[]): string[][] {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [
    columns.map((column) => title(column).toUpperCase()),
    ...rows.map((row) => columns.map((column) => (row[column] === undefined ? "" : fieldText(row[column])))),
  ];
}

/** `nextInLine` → `Next in line`. */
function title(name: string): string {
  const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.charAt(0).toUpperCase() + words.slice(1);
}
