// The build puts the package into this file: see scripts/bundle.mjs.
export { type Extract, extract } from "tar-stream";
