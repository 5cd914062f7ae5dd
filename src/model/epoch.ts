/**
 * Epoch: counts the writes of a group that must not pass each other, under the group's name. Whoever writes reads it, looks at what
 * there is, and writes only if nobody has counted meanwhile. Admission of several servers over one store holds by it.
 */
import { z } from "zod";
import { objectSchema } from "./meta.ts";

export const epochSchema = objectSchema(
  "Epoch",
  z.strictObject({
    /** Grows with every write of the group. */
    count: z.number().int(),
  }),
  z.strictObject({}),
);

export type Epoch = z.output<typeof epochSchema>;
