/**
 * Embedding sources of any size into folders of shards.
 *
 * @module
 */
export {
  type EmbedProgress,
  type EmbedResult,
  type EmbedRun,
  type EmbedStart,
  embed,
} from "./embed.js";
export {
  type Embedded,
  type EmbeddedBatch,
  type EmbeddedSample,
  type EmbedEntriesOptions,
  embedSources,
} from "./embed-entries.js";
export { type EmbedOptions, type EmbedOptionsInput, embedOptionsSchema } from "./options.js";
export type { Part } from "./portions.js";
export { type Embeddings, holdsEmbeddings, openEmbeddings } from "./read-embeddings.js";
