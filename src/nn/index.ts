/**
 * Layers: they declare parameters and build graphs, and run nothing.
 *
 * @module
 */
export { Attention, type AttentionInputs, type AttentionOptions } from "./attention.js";
export { BatchNorm } from "./batch-norm.js";
export { BufferUpdates } from "./buffer-updates.js";
export { FeedForward, geglu } from "./feed-forward.js";
export { LayerNorm } from "./layer-norm.js";
export {
  fanIn,
  type Initializer,
  initialize,
  type Parameter,
  parameterGradients,
  Scope,
} from "./parameters.js";
export { RotaryEmbedding, rotate } from "./rotary.js";
export { Transformer, type TransformerInputs, type TransformerOptions } from "./transformer.js";
