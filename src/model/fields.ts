/**
 * Field types that several kinds share. Each carries the sentence that is shown when a value does not fit:
 * what is allowed, and (after `; `) what to do.
 */
import { z } from "zod";
import { parseAddress, parseCidr } from "./ipv4.ts";

/** RFC 1123 label, as Kubernetes demands of names. */
export const nameField = z
  .string()
  .max(63, "is longer than 63 characters; shorten it")
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
    "is not a name; use lower-case letters, digits and '-', beginning and ending with a letter or digit",
  );

export const addressField = z.string().superRefine((text, ctx) => {
  if (parseAddress(text) === undefined) {
    ctx.addIssue({
      code: "custom",
      message: "is not an IPv4 address; write it like 192.0.2.10",
      input: text,
    });
  }
});

export const cidrField = z.string().superRefine((text, ctx) => {
  const parsed = parseCidr(text);
  if (parsed.ok) return;
  const message =
    parsed.problem === "host-bits"
      ? `has host bits set; did you mean ${parsed.suggestion}?`
      : "is not a CIDR block; write it like 192.0.2.0/24";
  ctx.addIssue({ code: "custom", message, input: text });
});

/** An integer between two bounds, with a message that names both. */
export function integerField(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}; choose one in that range`;
  return z.number(message).int(message).min(min, message).max(max, message);
}

/** A UDP or TCP port. */
export const portField = integerField(1, 65535);

/** A network interface's name in Linux (IFNAMSIZ − 1 bytes). */
export const interfaceField = z
  .string()
  .regex(
    /^[^\s/:]{1,15}$/,
    "is not an interface name; use 1 to 15 characters without '/', ':' or white space",
  );
