/** Collections of captioned pictures, and pictures as pixels. */
export {
  type AugmentOptions,
  augmentInto,
  normaliseInto,
  type PixelFormat,
  sslAugmentation,
} from "./augment.js";
export { readCollection } from "./collection.js";
export { type DecodeOptions, decodePicture } from "./picture.js";
export {
  type LoadedPictures,
  PictureLoader,
  type PictureLoaderOptions,
  type PictureRequest,
} from "./picture-loader.js";
export type { Sample, Skipped } from "./sample.js";
export {
  EOS_ID,
  PAD_ID,
  Tokenizer,
  type TrainTokenizerOptions,
  trainTokenizer,
} from "./tokenizer.js";
