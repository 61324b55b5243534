import type { Tensor } from "../graph/index.js";
import type { ObjectiveTerms, Views } from "./objective.js";

/** What `CLIP.losses` may be told beside the batch. */
export interface LossOptions {
  /** Train the text side against a fixed image encoder (LiT, Zhai et al., 2021); default false. */
  readonly freezeImageEncoder?: boolean;
  /** Train the image side against a fixed text encoder; default false. */
  readonly freezeTextEncoder?: boolean;
  /** bool [B, B] (text, image): pairs that are no negatives. */
  readonly excluded?: Tensor | undefined;
}

/** The parts of a loss by name, each before it is weighed. */
export interface LossTerms extends ObjectiveTerms {
  /** Masked language modelling. */
  readonly textSsl?: Tensor;
  /** Visual self-supervision. */
  readonly imageSsl?: Tensor;
}

/** A loss and what it is made of, all scalars. */
export interface Losses {
  readonly loss: Tensor;
  readonly terms: LossTerms;
  /** What the step makes of buffers, by their names. */
  readonly buffers: ReadonlyMap<string, Tensor>;
}

/** What the loss needs of texts. */
export interface TextSide {
  /** Their latents; row i of each belongs to text i. */
  readonly views: Views["texts"];
  /** Masked language modelling's term: a mean over the words asked for. */
  readonly textSsl: Tensor | undefined;
}

/** What the loss needs of images. */
export interface ImageSide {
  /** Their latents; row i of each belongs to image i. */
  readonly views: Views["images"];
  /** Visual self-supervision's term: a mean over the pictures. */
  readonly imageSsl: Tensor | undefined;
  /** See {@link Losses.buffers}. */
  readonly buffers: ReadonlyMap<string, Tensor>;
}
