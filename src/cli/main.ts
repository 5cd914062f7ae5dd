/** What `bin/natto` starts. */
import { runNatto } from "./program.ts";

// Whoever reads our output may stop reading: `natto get gateways | head -1`. That is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

process.exitCode = await runNatto(process.argv.slice(2));
