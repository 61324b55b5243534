// The build puts the package into this file: see scripts/bundle.mjs.
export { default } from "protobufjs";
