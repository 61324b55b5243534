/**
 * Weights as files: reading and writing safetensors, reading PyTorch's checkpoints.
 *
 * @module
 */
export { asFloat32 } from "./as-float32.js";
export { findStateDict } from "./find-state-dict.js";
export { Opaque } from "./pickle.js";
export { readWeights } from "./read-weights.js";
export {
  readSafetensors,
  readSafetensorsHeader,
  type Safetensors,
  type SafetensorsTensor,
  writeSafetensors,
} from "./safetensors.js";
export type {
  SafetensorsArrays,
  SafetensorsDType,
  SafetensorsEntry,
  SafetensorsHeader,
} from "./safetensors-header.js";
export { readTorch, TorchCheckpoint } from "./torch.js";
export { type TorchStorage, TorchTensor } from "./torch-tensor.js";
export type { TorchValue } from "./torch-value.js";
