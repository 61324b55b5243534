/**
 * A trained model on disk, and what it is for: embedding texts and pictures.
 *
 * @module
 */
export {
  type ModelConfig,
  type ModelConfigInput,
  modelConfigSchema,
  modelSettingsSchema,
  textEncoding,
} from "./config.js";
export type { Embedder, FailedPicture, PictureSource } from "./embedder.js";
export {
  loadDescription,
  loadModel,
  type ModelParts,
  modelFiles,
  saveDescription,
  saveWeights,
} from "./folder.js";
export { Model, pictureFormat } from "./model.js";
