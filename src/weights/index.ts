/**
 * Weights as files: reading and writing safetensors.
 *
 * @module
 */
export { asFloat32 } from "./as-float32.js";
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
