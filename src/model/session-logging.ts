/** What of a gateway its nodes write down. */
import { z } from "zod";

/** `Sessions`: a line when a session begins, and one when it ends. */
export const sessionLoggingField = z.enum(["None", "Sessions"]).default("None");

export type SessionLogging = z.output<typeof sessionLoggingField>;
