import {
  chunk,
  concat,
  constant,
  detach,
  equal,
  exp,
  expandLike,
  gatherElements,
  input,
  l2norm,
  matmul,
  matrixTranspose,
  mul,
  not,
  reshape,
  slice,
  sum,
  type Tensor,
} from "../graph/index.js";
import { type Parameter, Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { checkOptions } from "./check-options.js";
import { checkEncoded, type Encoders, type ImageEncoder, type TextEncoder } from "./encoders.js";
import { eosFirst, eosPositions, gatherTokens } from "./eos.js";
import { objective, weighted } from "./objective.js";
import { type ClipOptions, clipOptionsSchema, type ResolvedClipOptions } from "./options.js";
import { DownsamplingProjection, LinearProjection, onGrid } from "./projection.js";
import { TextTransformer } from "./text-transformer.js";
import { keptPatches, patchCount, VisionTransformer } from "./vision-transformer.js";

/** A batch, as symbolic tensors; {@link CLIP.inputs} makes one. */
export interface ClipInputs {
  /** int32 [B, T] */
  readonly text: Tensor;
  /** [B, C, H, W] */
  readonly image: Tensor;
  /**
   * int32 [V B, K] for V views of images: patches kept by patch dropout. Absent: all are kept, as in
   * evaluation.
   */
  readonly patchIndices?: Tensor | undefined;
  /** More views of the texts, each int32 [B, T] (DeCLIP, Li et al., 2021). */
  readonly augText?: readonly Tensor[] | undefined;
  /** More views of the images, each [B, C, H, W]. */
  readonly augImage?: readonly Tensor[] | undefined;
}

/** What {@link CLIP.inputs} may be told. */
export interface InputOptions {
  /** Tokens T of a text; default `textSeqLen`. */
  readonly textLength?: number;
  /** Also what only training needs, such as the patches that patch dropout keeps; default false. */
  readonly training?: boolean;
  /** How many more views of texts there are; default 0. */
  readonly augTexts?: number;
  /** How many more views of images there are; default 0. */
  readonly augImages?: number;
}

/** What {@link CLIP.losses} may be told beside the batch. */
export interface LossOptions {
  /** Train the text side against a fixed image encoder (LiT, Zhai et al., 2021); default false. */
  readonly freezeImageEncoder?: boolean;
  /** Train the image side against a fixed text encoder; default false. */
  readonly freezeTextEncoder?: boolean;
  /** bool [B, B] (text, image): pairs that are no negatives. */
  readonly excluded?: Tensor | undefined;
}

/** The parts of a loss by name, each before it is weighed. */
export interface LossTerms {
  /** Texts against images, the first view of each. */
  readonly contrastive: Tensor;
  /** The mean over all pairs of views but the first. */
  readonly multiview?: Tensor;
  readonly similarityRegularisation?: Tensor;
}

/** A loss and what it is made of, all scalars. */
export interface Losses {
  readonly loss: Tensor;
  readonly terms: LossTerms;
}

const OWN_PROJECTIONS = { text: "to_text_latent", image: "to_visual_latent" } as const;

/**
 * A text and an image encoder whose latents meet in one space (CLIP, Radford et al., 2021), with the
 * options of x-clip. It builds graphs; a runtime runs them.
 */
export class CLIP {
  readonly options: ResolvedClipOptions;
  readonly #scope = new Scope();
  readonly #text: TextEncoder;
  readonly #image: ImageEncoder;
  readonly #textProjection: LinearProjection;
  readonly #imageProjection: LinearProjection | DownsamplingProjection;
  readonly #textProjectionExtra: LinearProjection;
  readonly #imageProjectionExtra: LinearProjection | DownsamplingProjection;
  readonly #temperature: Tensor;
  readonly #bias: Tensor | undefined;
  /** Whether the text encoder puts a CLS token before the words, and patches can be dropped. */
  readonly #builtIn: { readonly text: boolean; readonly image: boolean };

  /**
   * @param encoders encoders of your own; options that shape the built-in ones then have no effect.
   * @throws ClipsmithError if an option is unknown, of the wrong kind, or at odds with another.
   */
  constructor(options: ClipOptions = {}, { textEncoder, imageEncoder }: Encoders = {}) {
    this.options = parseOptions(clipOptionsSchema, options, "CLIP");
    const o = this.options;
    this.#builtIn = { text: textEncoder === undefined, image: imageEncoder === undefined };
    checkOptions(o, this.#builtIn);
    // The order is that of x-clip's state_dict.
    this.#temperature = this.#scope.parameter("temperature", [], { kind: "constant", value: 1 });
    const textScope = this.#scope.child("text_transformer");
    this.#text =
      textEncoder?.(textScope, o) ??
      new TextTransformer(textScope, {
        width: o.dimText,
        numTokens: o.numTextTokens,
        maxSeqLen: o.textSeqLen,
        rotaryPosEmb: o.textRotaryPosEmb,
        causal: o.textCausalMask,
        depth: o.textEncDepth,
        heads: o.textHeads,
        dimHead: o.textDimHead,
      });
    const imageScope = this.#scope.child("visual_transformer");
    this.#image =
      imageEncoder?.(imageScope, o) ??
      new VisionTransformer(imageScope, {
        width: o.dimImage,
        imageSize: o.visualImageSize,
        patchSize: o.visualPatchSize,
        channels: o.channels,
        depth: o.visualEncDepth,
        heads: o.visualHeads,
        dimHead: o.visualDimHead,
      });
    const text = { width: o.dimText, dimLatent: o.dimLatent };
    const image = { width: o.dimImage, dimLatent: o.dimLatent };
    const ImageProjection = o.downsampleImageEmbeds ? DownsamplingProjection : LinearProjection;
    const { text: textName, image: imageName } = OWN_PROJECTIONS;
    this.#textProjection = new LinearProjection(this.#scope, textName, text);
    this.#imageProjection = new ImageProjection(this.#scope, imageName, image);
    // x-clip's files have the extra ones always; without extraLatentProjection nothing reads them.
    this.#textProjectionExtra = new LinearProjection(this.#scope, `${textName}_extra`, {
      ...text,
      copyOf: textName,
    });
    this.#imageProjectionExtra = new ImageProjection(this.#scope, `${imageName}_extra`, {
      ...image,
      copyOf: imageName,
    });
    this.#bias = o.sigmoidLoss
      ? this.#scope.parameter(CLIP.logitBias, [], { kind: "constant", value: -10 })
      : undefined;
  }

  /** All parameters by their names in x-clip's `state_dict`. */
  get parameters(): ReadonlyMap<string, Parameter> {
    return this.#scope.parameters;
  }

  /** Other names that x-clip's `state_dict` has for shared parameters, with their own names. */
  get aliases(): ReadonlyMap<string, string> {
    return this.#scope.aliases;
  }

  /** How many numbers are learnt. */
  get parameterCount(): number {
    return [...this.parameters.values()]
      .filter(({ trainable }) => trainable)
      .reduce((count, { shape }) => count + shape.reduce((a, b) => a * b, 1), 0);
  }

  /** Name of the parameter that holds the logarithm of the logit scale. */
  static readonly logitScale = "temperature";

  /** Name of the parameter that the sigmoid loss adds to similarities; SigLIP starts it at -10. */
  static readonly logitBias = "logit_bias";

  /** Inputs named as the fields of {@link ClipInputs}, views `augText.0` and so on. */
  inputs(batch: number | string, options: InputOptions = {}): ClipInputs {
    const { channels, visualImageSize, textSeqLen } = this.options;
    const { textLength = textSeqLen, training = false, augTexts = 0, augImages = 0 } = options;
    const text = (name: string) => input(name, [batch, textLength], "int32");
    const image = (name: string) =>
      input(name, [batch, channels, visualImageSize, visualImageSize]);
    const drops = training && this.keptPatches < this.patches;
    return {
      text: text("text"),
      image: image("image"),
      ...(drops && { patchIndices: this.#patchIndices("patchIndices", batch, 1 + augImages) }),
      ...(augTexts > 0 && { augText: views(augTexts, (i) => text(`augText.${i}`)) }),
      ...(augImages > 0 && { augImage: views(augImages, (i) => image(`augImage.${i}`)) }),
    };
  }

  #patchIndices(name: string, batch: number | string, views: number): Tensor {
    if (typeof batch !== "number") throw new Error("patch dropout needs a fixed batch");
    return input(name, [views * batch, this.keptPatches], "int32");
  }

  /** Number of patches P of a picture. */
  get patches(): number {
    const { visualImageSize: imageSize, visualPatchSize: patchSize } = this.options;
    return patchCount({ imageSize, patchSize });
  }

  /** Number of patches K that patch dropout keeps in training; all, for an encoder of your own. */
  get keptPatches(): number {
    return this.#builtIn.image
      ? keptPatches(this.patches, this.options.visualPatchDropout)
      : this.patches;
  }

  /**
   * Raw outputs of the text encoder, [B, 1 + T, dimText] with the CLS token first; with `textCausalMask`
   * [B, T, dimText] with the end token first; what an encoder of your own gives as it is.
   *
   * @param wanted how many tokens are wanted, from the first on: 1 is enough for latents, and less
   *   work. Default all.
   */
  encodeText(text: Tensor, wanted?: number): Tensor {
    const { textEosId, textCausalMask } = this.options;
    if (!textCausalMask) return this.#encodeWords(text, wanted);
    const eos = eosPositions(text, textEosId!);
    return gatherTokens(this.#encodeWords(text), wanted === 1 ? eos : eosFirst(text, eos));
  }

  /** What the text encoder gives, tokens in their own order. */
  #encodeWords(text: Tensor, wanted?: number): Tensor {
    const { textEncodeWithoutMask, dimText } = this.options;
    const mask = textEncodeWithoutMask ? undefined : this.#wordMask(text);
    return checkEncoded(this.#text.call(text, mask, wanted), dimText, "text");
  }

  /** bool [B, T]: where a text has words, not padding. */
  #wordMask(text: Tensor): Tensor {
    return not(equal(text, this.options.textPadId));
  }

  /** Raw outputs of the image encoder, [B, 1 + P, dimImage]; the first token is the pooled one. */
  encodeImage(image: Tensor, patchIndices?: Tensor): Tensor {
    return checkEncoded(this.#image.call(image, patchIndices), this.options.dimImage, "image");
  }

  /**
   * Latents [B, L] of length 1, from what {@link encodeText} gave; token by token, where
   * `useAllTokenEmbeds` says so, [B, T, L].
   */
  textLatents(encoded: Tensor): Tensor {
    return l2norm(this.#textProjection.call(this.#textTokens(encoded)));
  }

  /** Latents [B, L] of length 1, from what {@link encodeImage} gave; token by token [B, P, L]. */
  imageLatents(encoded: Tensor, patchIndices?: Tensor): Tensor {
    return this.#projectImage(this.#imageProjection, encoded, patchIndices);
  }

  /** Latents of the direction from image to text, as {@link textLatents}: `extraLatentProjection`'s. */
  textLatentsExtra(encoded: Tensor): Tensor {
    if (!this.options.extraLatentProjection) return this.textLatents(encoded);
    return l2norm(this.#textProjectionExtra.call(this.#textTokens(encoded)));
  }

  /** Latents of the direction from image to text, as {@link imageLatents}. */
  imageLatentsExtra(encoded: Tensor, patchIndices?: Tensor): Tensor {
    if (!this.options.extraLatentProjection) return this.imageLatents(encoded, patchIndices);
    return this.#projectImage(this.#imageProjectionExtra, encoded, patchIndices);
  }

  #projectImage(
    projection: LinearProjection | DownsamplingProjection,
    encoded: Tensor,
    patchIndices: Tensor | undefined,
  ): Tensor {
    const tokens = this.#imageTokens(encoded);
    if (projection instanceof LinearProjection) return l2norm(projection.call(tokens));
    const side = Math.sqrt(this.patches);
    if (patchIndices && this.options.compat === "x-clip") {
      // As x-clip: whatever patches are left, in drawn order, as a grid of their own.
      const count = tokens.shape[1] as number;
      const rows = Math.floor(Math.sqrt(count));
      return l2norm(projection.call(tokens, [rows, count / rows]));
    }
    const grid = patchIndices ? onGrid(tokens, patchIndices, this.patches) : tokens;
    return l2norm(projection.call(grid, [side, side]));
  }

  /** The tokens of a text that are compared: its first, or all words. */
  #textTokens(encoded: Tensor): Tensor {
    const { useAllTokenEmbeds, textHasClsToken } = this.options;
    return comparedTokens(encoded, useAllTokenEmbeds, textHasClsToken, "text");
  }

  #imageTokens(encoded: Tensor): Tensor {
    const { useAllTokenEmbeds, visualHasClsToken } = this.options;
    return comparedTokens(encoded, useAllTokenEmbeds, visualHasClsToken, "image");
  }

  /** bool [B, T] of a text's latents that count, where texts are compared token by token. */
  textMask(text: Tensor): Tensor | undefined {
    const { useAllTokenEmbeds, textHasClsToken, textCausalMask, textEosId, compat } = this.options;
    if (!useAllTokenEmbeds) return undefined;
    const mask = this.#wordMask(text);
    if (textCausalMask) {
      // The end token came first, and stands for the whole if such a token is left out.
      if (compat) return mask;
      const moved = gatherElements(mask, eosFirst(text, eosPositions(text, textEosId!)), 1);
      return textHasClsToken ? slice(moved, 1, 1) : moved;
    }
    if (textHasClsToken || !this.#builtIn.text) return mask;
    // The built-in encoder makes a CLS token all the same; it is compared like the words.
    return concat([expandLike(constant(1, [1, 1], "bool"), slice(mask, 1, 0, 1)), mask], 1);
  }

  /** Scalar that multiplies cosine similarities. */
  logitScale(): Tensor {
    return exp(this.#temperature);
  }

  /** Similarities of matching pairs, [B], times the logit scale. */
  similarities(text: Tensor, image: Tensor): Tensor {
    return mul(sum(mul(text, image), -1), this.logitScale());
  }

  /** Similarities of matching pairs token by token, [B, T, P] (word, patch), times the logit scale. */
  tokenSimilarities(text: Tensor, image: Tensor): Tensor {
    return mul(matmul(text, matrixTranspose(image)), this.logitScale());
  }

  /** Similarities of all texts with all images, [B, B] (text, image), times the logit scale. */
  similarityMatrix(text: Tensor, image: Tensor): Tensor {
    return mul(matmul(text, matrixTranspose(image)), this.logitScale());
  }

  /** The training loss, a scalar. */
  loss(inputs: ClipInputs, options: LossOptions = {}): Tensor {
    return this.losses(inputs, options).loss;
  }

  /**
   * The loss and its terms. Terms whose inputs are absent are left out: with `text` and `image` alone,
   * this is what a validation asks for.
   */
  losses(inputs: ClipInputs, options: LossOptions = {}): Losses {
    const { text, image, patchIndices, augText = [], augImage = [] } = inputs;
    const { extraLatentProjection, useAllTokenEmbeds } = this.options;
    const texts = [text, ...augText];
    const images = [image, ...augImage];
    const frozen = (encoded: Tensor, freeze = false) => (freeze ? detach(encoded) : encoded);
    // All views go through an encoder at once.
    const allTexts = together(texts);
    const encodedText = frozen(
      this.encodeText(allTexts, useAllTokenEmbeds ? undefined : 1),
      options.freezeTextEncoder,
    );
    const encodedImage = frozen(
      this.encodeImage(together(images), patchIndices),
      options.freezeImageEncoder,
    );
    const mask = this.textMask(allTexts);
    const text0 = apart(this.textLatents(encodedText), texts.length);
    const image0 = apart(this.imageLatents(encodedImage, patchIndices), images.length);
    const text1 = extraLatentProjection
      ? apart(this.textLatentsExtra(encodedText), texts.length)
      : [];
    const image1 = extraLatentProjection
      ? apart(this.imageLatentsExtra(encodedImage, patchIndices), images.length)
      : [];
    const masks = mask ? apart(mask, texts.length) : [];
    const found = objective(
      this.options,
      {
        texts: text0.map((text, i) => ({ text, textExtra: text1[i], textMask: masks[i] })),
        images: image0.map((image, i) => ({ image, imageExtra: image1[i] })),
      },
      { scale: this.logitScale(), bias: this.#bias },
      options.excluded,
    );
    return { loss: this.#weigh(found), terms: found };
  }

  /** x-clip's bookkeeping: what other terms weigh, the contrastive one doesn't. */
  #weigh(terms: LossTerms): Tensor {
    const { multiviewLossWeight, simRegLossWeight } = this.options;
    const others: (readonly [number, Tensor])[] = [];
    if (terms.multiview) others.push([multiviewLossWeight, terms.multiview]);
    const rest = 1 - others.reduce((sum, [weight]) => sum + weight, 0);
    const added = terms.similarityRegularisation;
    return weighted([
      [rest, terms.contrastive],
      ...others,
      ...(added ? ([[simRegLossWeight, added]] as const) : []),
    ]);
  }
}

function views<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

/** Views [B, ...] under one another: [V B, ...]. */
function together(views: readonly Tensor[]): Tensor {
  return views.length === 1 ? views[0]! : concat(views, 0);
}

/** The opposite of {@link together}. */
function apart(all: Tensor, count: number): Tensor[] {
  return count === 1 ? [all] : chunk(all, count, 0);
}

/** The first token [B, D] of [B, T, D]; or all of them, without the first if it stands for the whole. */
function comparedTokens(
  encoded: Tensor,
  tokenwise: boolean,
  hasCls: boolean,
  side: "text" | "image",
): Tensor {
  if (tokenwise) {
    if (encoded.rank === 3) return hasCls ? slice(encoded, 1, 1) : encoded;
    throw new ClipsmithError(
      `useAllTokenEmbeds compares tokens, but the ${side} encoder gives one vector for each ${side}. ` +
        "Give [B, T, D], or leave useAllTokenEmbeds out.",
    );
  }
  if (encoded.rank === 2) return encoded;
  return reshape(slice(encoded, 1, 0, 1), [encoded.shape[0]!, encoded.shape[2]!]);
}
