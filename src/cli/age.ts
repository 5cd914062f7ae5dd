/** Spans of time for people. */

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
] as const;

/** A span in seconds by its two largest units, such as `3h12m`; negative spans count as 0. */
export function formatSpan(seconds: number): string {
  let rest = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join("") || "0s";
}

/** How long ago a moment (RFC 3339) was, at `now` in milliseconds since 1970; empty when it is no moment. */
export function formatAge(moment: string, now: number): string {
  const at = Date.parse(moment);
  return Number.isNaN(at) ? "" : formatSpan((now - at) / 1000);
}
