/**
 * Runs graphs on ONNX Runtime.
 *
 * @module
 */
export { ProgramCache } from "./cache.js";
export type { RuntimeOptions } from "./options.js";
export { type Feeds, Program } from "./program.js";
