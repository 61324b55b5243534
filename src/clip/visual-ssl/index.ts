/**
 * Visual self-supervision beside the contrastive loss (SLIP, Mu et al., 2021).
 *
 * @module
 */
export type { EncodePictures, VisualSslInputs, VisualSslOptions } from "./options.js";
export { SimCLR, type SimClrOptions } from "./sim-clr.js";
export { SimSiam } from "./sim-siam.js";
