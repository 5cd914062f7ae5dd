/** What `bin/natto` starts. */
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

// Halves the start and saves memory. The folder is as trusted as the program itself; where it cannot be written, nothing is cached.
enableCompileCache(fileURLToPath(new URL("../../node_modules/.cache/natto", import.meta.url)));

// Whoever reads our output may stop reading: `natto get gateways | head -1`. That is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

const { runNatto } = await import("./program.ts");
process.exitCode = await runNatto(process.argv.slice(2));
