/** Natto's version, as it stands in package.json. */
import manifest from "../package.json" with { type: "json" };

export const NATTO_VERSION: string = manifest.version;
