/**
 * A trained model on disk, its way from and to x-clip, and what it is for: embedding texts and pictures.
 *
 * @module
 */
export {
  type ModelConfig,
  type ModelConfigInput,
  modelConfigSchema,
  modelSettingsSchema,
  preprocessingSchema,
  textEncoding,
} from "./config.js";
export type { Embedder, FailedPicture, PictureSource } from "./embedder.js";
export { exportWeights, type ImportOptions, importModel } from "./exchange.js";
export {
  loadDescription,
  loadModel,
  type ModelParts,
  modelFiles,
  saveDescription,
  saveWeights,
} from "./folder.js";
export { Model, pictureFormat } from "./model.js";
export { fromStateDict, toStateDict } from "./state-dict.js";
