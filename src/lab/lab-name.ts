/** A lab name that no other test run on this machine uses at the same time: the prefix (lower-case letters and digits) and our pid. */
export function freshLabName(prefix: string): string {
  return `${prefix}${process.pid}`;
}
