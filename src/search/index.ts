export {
  type BuildOptions,
  type BuildResult,
  buildIndex,
  type IndexBatch,
  writeIndex,
} from "./build-index.js";
export {
  type IndexedPicture,
  type Match,
  PictureIndex,
  type SearchOptions,
  type ShownPicture,
} from "./picture-index.js";
export { type Found, isPresent, searchPresent } from "./present.js";
export { embedPicture, searchPicture, searchText } from "./search.js";
