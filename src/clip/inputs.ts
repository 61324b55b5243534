import type { Tensor } from "../graph/index.js";
import type { VisualSslInputs } from "./visual-ssl/index.js";

/** A batch's texts, as symbolic tensors. */
export interface TextInputs {
  /** int32 [B, T] */
  readonly text: Tensor;
  /** More views of the texts, each int32 [B, T] (DeCLIP, Li et al., 2021). */
  readonly augText?: readonly Tensor[] | undefined;
  /** Masked language modelling: the texts with some words masked, and what those were; int32 [B, T]. */
  readonly mlm?: { readonly sequence: Tensor; readonly labels: Tensor } | undefined;
}

/** A batch's images, as symbolic tensors. */
export interface ImageInputs {
  /** [B, C, H, W] */
  readonly image: Tensor;
  /**
   * int32 [V B, K] for V views of images: patches kept by patch dropout. Absent: all are kept, as in
   * evaluation.
   */
  readonly patchIndices?: Tensor | undefined;
  /** More views of the images, each [B, C, H, W]. */
  readonly augImage?: readonly Tensor[] | undefined;
  /** Visual self-supervision: two views of each picture, and the patches kept in each of its passes. */
  readonly ssl?: VisualSslInputs | undefined;
}

/** A batch, as symbolic tensors; `CLIP.inputs` makes one. */
export interface ClipInputs extends TextInputs, ImageInputs {}

/** What `CLIP.inputs` may be told. */
export interface InputOptions {
  /** Tokens T of a text; default `textSeqLen`. */
  readonly textLength?: number;
  /**
   * Also what only training needs: the patches that patch dropout keeps, and what self-supervision is
   * about; default false.
   */
  readonly training?: boolean;
  /** How many more views of texts there are; default 0. */
  readonly augTexts?: number;
  /** How many more views of images there are; default 0. */
  readonly augImages?: number;
}
