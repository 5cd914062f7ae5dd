/** Tables of text, as wide as their cells. */

const GAP = "   ";

/** The width of each column: of its longest cell, and never less than `least`. */
export function columnWidths(rows: readonly (readonly string[])[], least: readonly number[] = []): number[] {
  const columns = Math.max(least.length, ...rows.map((row) => row.length));
  return Array.from({ length: columns }, (_, i) =>
    Math.max(least[i] ?? 0, ...rows.map((row) => (row[i] ?? "").length)),
  );
}

/** One line for each row, without a line end; an empty cell is shown as `-`, and no line ends in white space. */
export function tableLines(
  rows: readonly (readonly string[])[],
  widths: readonly number[] = columnWidths(rows),
): string[] {
  return rows.map((row) =>
    row
      .map((cell, i) => (cell === "" ? "-" : cell).padEnd(widths[i] ?? 0))
      .join(GAP)
      .trimEnd(),
  );
}
