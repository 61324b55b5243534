/** Collections of captioned pictures, and pictures as pixels. */
export {
  type AugmentOptions,
  augmentInto,
  normaliseInto,
  type PixelFormat,
  sslAugmentation,
} from "./augment.js";
export {
  augmentText,
  type CaptionChanges,
  changeCaption,
  inTemplates,
  isTemplate,
  type TextAugmentOptions,
  withoutOneWord,
} from "./change-captions.js";
export { readCollection } from "./collection.js";
export { takePart } from "./held-out.js";
export { loadTokenizer } from "./load-tokenizer.js";
export { drawMask, type MaskDraws, type MaskedTokens, maskTokens } from "./mask-tokens.js";
export { openSource } from "./open-source.js";
export { openStream, type StreamOptions } from "./open-stream.js";
export { type OpenAIDecodeOptions, OpenAITokenizer } from "./openai-tokenizer.js";
export { type DecodeOptions, decodePicture } from "./picture.js";
export {
  type LoadedPictures,
  PictureLoader,
  type PictureLoaderOptions,
  type PictureRequest,
} from "./picture-loader.js";
export { mostReaders, type Reader } from "./reader.js";
export { type Sample, type Skipped, shortName } from "./sample.js";
export { causeLines, type SkipLimit, SkipLog, type SkippedSummary } from "./skip-log.js";
export {
  inMemory,
  isInMemory,
  type SampleSource,
  type Shard,
  type SourceOptions,
  type SourceSample,
  type StreamSource,
} from "./source.js";
export type { SampleStream, Streamed, StreamedSample, StreamedSkip } from "./stream.js";
export {
  type ReadersPosition,
  readersPositionSchema,
  type StreamPosition,
  streamPositionSchema,
} from "./stream-position.js";
export { openStreamAhead } from "./stream-thread.js";
export type { EncodeBatchOptions, EncodeOptions, Tokenizer } from "./tokenizer.js";
export {
  EOS_ID,
  PAD_ID,
  TrainedTokenizer,
  type TrainTokenizerOptions,
  trainTokenizer,
} from "./trained-tokenizer.js";
