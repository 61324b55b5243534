export * from "./convolution.js";
export * from "./elementwise.js";
export * from "./indexing.js";
export * from "./matmul.js";
export * from "./movement.js";
export * from "./normalization.js";
export * from "./reduction.js";
