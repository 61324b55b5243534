// Before npm packs: the build as files of their own. The build after it makes `dist` a link again.
import { build } from "./build.mjs";

await build({ real: true });
