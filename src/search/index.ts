export { type BuildOptions, type BuildResult, buildIndex } from "./build-index.js";
export {
  type IndexedPicture,
  type Match,
  PictureIndex,
  type SearchOptions,
} from "./picture-index.js";
export { searchPicture, searchText } from "./search.js";
