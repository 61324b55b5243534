import {
  cast,
  chunk,
  concat,
  detach,
  exp,
  greater,
  input,
  l2norm,
  matmul,
  matrixTranspose,
  max,
  mul,
  not,
  or,
  sum,
  type Tensor,
} from "../graph/index.js";
import { BufferUpdates, type Parameter, Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { checkOptions, imageSslWeight } from "./check-options.js";
import { ImageTower } from "./image-tower.js";
import { MaskedLanguageModel } from "./masked-language-model.js";
import { mlmTokenIds } from "./mlm-options.js";
import { type ObjectiveTerms, objective, type Views, weighted } from "./objective.js";
import { type ClipOptions, clipOptionsSchema, type ResolvedClipOptions } from "./options.js";
import type { ClipParts, VisualSsl } from "./parts.js";
import { DownsamplingProjection, LinearProjection, onGrid, shuffledRows } from "./projection.js";
import { whole } from "./similarity.js";
import { TextTower } from "./text-tower.js";
import { SimCLR, SimSiam } from "./visual-ssl/index.js";

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
  /** Masked language modelling: the texts with some words masked, and what those were; int32 [B, T]. */
  readonly mlm?: { readonly sequence: Tensor; readonly labels: Tensor } | undefined;
  /** Visual self-supervision: two views of each picture, and the patches kept in each of its passes. */
  readonly ssl?:
    | { readonly views: readonly [Tensor, Tensor]; readonly patchIndices?: readonly Tensor[] }
    | undefined;
}

/** What {@link CLIP.inputs} may be told. */
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

type ImageProjection = LinearProjection | DownsamplingProjection;

/**
 * A text and an image encoder whose latents meet in one space (CLIP, Radford et al., 2021), with the
 * options of x-clip. It builds graphs; a runtime runs them.
 */
export class CLIP {
  readonly options: ResolvedClipOptions;
  readonly #scope = new Scope();
  readonly #text: TextTower;
  readonly #image: ImageTower;
  readonly #mlm: MaskedLanguageModel | undefined;
  readonly #visualSsl: VisualSsl | undefined;
  readonly #projections: {
    readonly text: LinearProjection;
    readonly image: ImageProjection;
    readonly textExtra: LinearProjection;
    readonly imageExtra: ImageProjection;
  };
  readonly #temperature: Tensor;
  readonly #bias: Tensor | undefined;

  /**
   * @param parts encoders and self-supervision of your own; options that shape the built-in ones then
   *   have no effect.
   * @throws ClipsmithError if an option is unknown, of the wrong kind, or at odds with another.
   */
  constructor(options: ClipOptions = {}, parts: ClipParts = {}) {
    this.options = parseOptions(clipOptionsSchema, options, "CLIP");
    checkOptions(this.options, parts);
    const o = this.options;
    const scope = this.#scope;
    // The order is that of x-clip's state_dict.
    this.#temperature = scope.parameter(CLIP.logitScale, [], { kind: "constant", value: 1 });
    const textScope = scope.child("text_transformer");
    this.#text = new TextTower(textScope, o, parts.textEncoder);
    const imageScope = scope.child("visual_transformer");
    this.#image = new ImageTower(imageScope, o, parts.imageEncoder);
    if (o.useMlm) {
      const mlm = scope.child("mlm");
      mlm.alias("transformer", textScope);
      this.#mlm = new MaskedLanguageModel(mlm, {
        width: o.dimText,
        numTokens: o.numTextTokens,
        maskProb: o.mlmMaskProb,
        ignoreId: mlmTokenIds(o, o.compat).pad,
      });
    }
    this.#visualSsl = this.#declareVisualSsl(imageScope, parts.visualSsl);
    this.#projections = this.#declareProjections();
    this.#bias = o.sigmoidLoss
      ? scope.parameter(CLIP.logitBias, [], { kind: "constant", value: -10 })
      : undefined;
  }

  #declareVisualSsl(imageScope: Scope, custom: ClipParts["visualSsl"]): VisualSsl | undefined {
    const { useVisualSsl, visualSslType, visualSslHiddenLayer, compat, ...o } = this.options;
    if (!useVisualSsl && !custom) return undefined;
    const scope = this.#scope.child("visual_ssl");
    const width = this.#image.layerWidth(visualSslHiddenLayer);
    if (custom) return custom(scope, width);
    const options = {
      width,
      projectionSize: o.visualSslProjectionSize,
      projectionHiddenSize: o.visualSslProjectionHiddenSize,
      compat,
    };
    if (visualSslType === "simclr") {
      scope.alias("net.net", imageScope);
      return new SimCLR(scope, { ...options, temperature: o.simclrTemperature });
    }
    scope.alias("net", imageScope);
    scope.alias("online_encoder.net", imageScope);
    return new SimSiam(scope, options);
  }

  #declareProjections() {
    const { dimText, dimImage, dimLatent, downsampleImageEmbeds } = this.options;
    const text = { width: dimText, dimLatent };
    const image = { width: dimImage, dimLatent };
    const scope = this.#scope;
    const Image = downsampleImageEmbeds ? DownsamplingProjection : LinearProjection;
    return {
      text: new LinearProjection(scope, "to_text_latent", text),
      image: new Image(scope, "to_visual_latent", image),
      // x-clip's files have the extra ones always; without extraLatentProjection nothing reads them.
      textExtra: new LinearProjection(scope, "to_text_latent_extra", {
        ...text,
        copyOf: "to_text_latent",
      }),
      imageExtra: new Image(scope, "to_visual_latent_extra", {
        ...image,
        copyOf: "to_visual_latent",
      }),
    };
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

  /**
   * Inputs named as the fields of {@link ClipInputs}: `text`, `image`, `patchIndices`, `augText.0`,
   * `mlm.sequence`, `ssl.views.0` and so on.
   */
  inputs(batch: number | string, options: InputOptions = {}): ClipInputs {
    const { channels, visualImageSize: size, textSeqLen } = this.options;
    const { textLength = textSeqLen, training = false, augTexts = 0, augImages = 0 } = options;
    const text = (name: string) => input(name, [batch, textLength], "int32");
    const image = (name: string) => input(name, [batch, channels, size, size]);
    const patches = (name: string, views: number) => {
      if (typeof batch !== "number") throw new Error("patch dropout needs a fixed batch");
      return input(name, [views * batch, this.keptPatches], "int32");
    };
    const drops = training && this.keptPatches < this.patches;
    const ssl = training ? this.#visualSsl : undefined;
    return {
      text: text("text"),
      image: image("image"),
      ...(drops && { patchIndices: patches("patchIndices", 1 + augImages) }),
      ...(augTexts > 0 && { augText: listOf(augTexts, (i) => text(`augText.${i}`)) }),
      ...(augImages > 0 && { augImage: listOf(augImages, (i) => image(`augImage.${i}`)) }),
      ...(training &&
        this.#mlm && { mlm: { sequence: text("mlm.sequence"), labels: text("mlm.labels") } }),
      ...(ssl && {
        ssl: {
          views: [image("ssl.views.0"), image("ssl.views.1")] as const,
          ...(drops && {
            patchIndices: listOf(ssl.passes, (i) => patches(`ssl.patchIndices.${i}`, 1)),
          }),
        },
      }),
    };
  }

  /** Number of patches P of a picture. */
  get patches(): number {
    return this.#image.patches;
  }

  /** Number of patches K that patch dropout keeps in training; all, for an encoder of your own. */
  get keptPatches(): number {
    return this.#image.keptPatches;
  }

  /** How many times visual self-supervision encodes pictures in a step; 0 without it. */
  get sslPasses(): number {
    return this.#visualSsl?.passes ?? 0;
  }

  /**
   * Raw outputs of the text encoder, [B, 1 + T, dimText] with the CLS token first; with `textCausalMask`
   * [B, T, dimText] with the end token first; what an encoder of your own gives as it is.
   *
   * @param wanted how many tokens are wanted, from the first on: 1 is enough for latents, and less
   *   work. Default all.
   */
  encodeText(text: Tensor, wanted?: number): Tensor {
    return this.#text.encode(text, wanted);
  }

  /** Raw outputs of the image encoder, [B, 1 + P, dimImage]; the first token is the pooled one. */
  encodeImage(image: Tensor, patchIndices?: Tensor): Tensor {
    return this.#image.encode(image, patchIndices);
  }

  /**
   * Latents [B, L] of length 1, from what {@link encodeText} gave; token by token, where
   * `useAllTokenEmbeds` says so, [B, T, L].
   */
  textLatents(encoded: Tensor): Tensor {
    return l2norm(this.#projections.text.call(this.#text.compared(encoded)));
  }

  /**
   * Latents [B, L] of length 1, from what {@link encodeImage} gave; token by token [B, P, L].
   *
   * @param patchIndices as given to {@link encodeImage}; `downsampleImageEmbeds` needs to know them.
   */
  imageLatents(encoded: Tensor, patchIndices?: Tensor): Tensor {
    return this.#projectImage(this.#projections.image, encoded, patchIndices);
  }

  /** {@link textLatents} for the direction from image to text: with `extraLatentProjection` others. */
  textLatentsExtra(encoded: Tensor): Tensor {
    const { text, textExtra } = this.#projections;
    const projection = this.options.extraLatentProjection ? textExtra : text;
    return l2norm(projection.call(this.#text.compared(encoded)));
  }

  /** {@link imageLatents} for the direction from image to text: with `extraLatentProjection` others. */
  imageLatentsExtra(encoded: Tensor, patchIndices?: Tensor): Tensor {
    const { image, imageExtra } = this.#projections;
    const projection = this.options.extraLatentProjection ? imageExtra : image;
    return this.#projectImage(projection, encoded, patchIndices);
  }

  #projectImage(projection: ImageProjection, encoded: Tensor, kept: Tensor | undefined): Tensor {
    const tokens = this.#image.compared(encoded);
    if (projection instanceof LinearProjection) return l2norm(projection.call(tokens));
    if (kept && this.options.compat === "x-clip") {
      // As x-clip: whatever patches are left, in drawn order, are a grid of their own.
      const rows = shuffledRows(this.keptPatches);
      return l2norm(projection.call(tokens, [rows, this.keptPatches / rows]));
    }
    if (tokens.shape[1] !== (kept?.shape[1] ?? this.patches)) {
      throw new ClipsmithError(
        `downsampleImageEmbeds needs a token for each of the ${this.patches} patches of visualImageSize and ` +
          `visualPatchSize; beside the first, the image encoder gives ${tokens.shape[1]}.`,
      );
    }
    const side = Math.sqrt(this.patches);
    const grid = kept ? onGrid(tokens, kept, this.patches) : tokens;
    return l2norm(projection.call(grid, [side, side]));
  }

  /** bool [B, T]: which of a text's latents count, where texts are compared token by token. */
  textMask(text: Tensor): Tensor | undefined {
    return this.#text.mask(text);
  }

  /**
   * One vector [B, L] of length 1 for each text int32 [B, T], to search with: its latent, or the direction
   * of the mean of its words' where texts are compared token by token. A text without a word is what the
   * encoder makes of padding.
   */
  embedText(text: Tensor): Tensor {
    const encoded = this.encodeText(text, this.options.useAllTokenEmbeds ? undefined : 1);
    const mask = this.textMask(text);
    return whole(this.textLatents(encoded), mask && or(mask, not(anyOf(mask))));
  }

  /** One vector [B, L] of length 1 for each picture [B, C, H, W], as {@link embedText}. */
  embedImage(image: Tensor): Tensor {
    return whole(this.imageLatents(this.encodeImage(image)));
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
   * The loss and its terms. Terms whose inputs are absent are left out, and so is their weight: with `text`
   * and `image` alone, this is what a validation asks for.
   */
  losses(inputs: ClipInputs, options: LossOptions = {}): Losses {
    const updates = new BufferUpdates();
    const scalars = { scale: this.logitScale(), bias: this.#bias };
    const terms: LossTerms = {
      ...objective(this.options, this.#views(inputs, options), scalars, options.excluded),
      ...(this.#mlm && inputs.mlm && { textSsl: this.#textSsl(this.#mlm, inputs, options) }),
      ...(this.#visualSsl &&
        inputs.ssl && {
          imageSsl: this.#imageSsl(this.#visualSsl, inputs, options, updates),
        }),
    };
    return { loss: this.#weigh(terms), terms, buffers: updates.values };
  }

  /** The latents of all views of a batch. */
  #views(inputs: ClipInputs, options: LossOptions): Views {
    const { text, image, patchIndices, augText = [], augImage = [] } = inputs;
    const { extraLatentProjection: extra, useAllTokenEmbeds } = this.options;
    // All views go through an encoder at once.
    const texts = together([text, ...augText]);
    const encodedText = frozen(
      this.encodeText(texts, useAllTokenEmbeds ? undefined : 1),
      options.freezeTextEncoder,
    );
    const encodedImage = frozen(
      this.encodeImage(together([image, ...augImage]), patchIndices),
      options.freezeImageEncoder,
    );
    const ofTexts = (all: Tensor | undefined) => apart(all, 1 + augText.length);
    const ofImages = (all: Tensor | undefined) => apart(all, 1 + augImage.length);
    const textMasks = ofTexts(this.textMask(texts));
    const textExtras = ofTexts(extra ? this.textLatentsExtra(encodedText) : undefined);
    const imageExtras = ofImages(
      extra ? this.imageLatentsExtra(encodedImage, patchIndices) : undefined,
    );
    return {
      texts: ofTexts(this.textLatents(encodedText)).map((text, i) => ({
        text,
        textExtra: textExtras[i],
        textMask: textMasks[i],
      })),
      images: ofImages(this.imageLatents(encodedImage, patchIndices)).map((image, i) => ({
        image,
        imageExtra: imageExtras[i],
      })),
    };
  }

  // x-clip trains a frozen encoder by self-supervision all the same.

  #textSsl(
    mlm: MaskedLanguageModel,
    { text, mlm: masked }: ClipInputs,
    { freezeTextEncoder }: LossOptions,
  ): Tensor {
    const words = this.#text.encodeWords(masked!.sequence, text);
    return mlm.loss(frozen(words, freezeTextEncoder && !this.options.compat), masked!.labels);
  }

  #imageSsl(
    ssl: VisualSsl,
    inputs: ClipInputs,
    { freezeImageEncoder }: LossOptions,
    updates: BufferUpdates,
  ): Tensor {
    const { visualSslHiddenLayer, compat } = this.options;
    const encode = (image: Tensor, kept?: Tensor) =>
      frozen(
        this.#image.encodeLayer(visualSslHiddenLayer, image, kept),
        freezeImageEncoder && !compat,
      );
    return ssl.loss(encode, inputs.ssl!, updates);
  }

  /** x-clip's bookkeeping: what other terms weigh, the contrastive one doesn't; regularisation is added. */
  #weigh({ contrastive, similarityRegularisation, ...terms }: LossTerms): Tensor {
    const o = this.options;
    const parts: (readonly [weight: number, term: Tensor])[] = [];
    if (terms.textSsl) parts.push([o.textSslLossWeight, terms.textSsl]);
    if (terms.imageSsl) parts.push([imageSslWeight(o), terms.imageSsl]);
    if (terms.multiview) parts.push([o.multiviewLossWeight, terms.multiview]);
    const others = parts.reduce((sum, [weight]) => sum + weight, 0);
    if (similarityRegularisation) parts.push([o.simRegLossWeight, similarityRegularisation]);
    return weighted([[1 - others, contrastive], ...parts]);
  }
}

/** bool [B, 1]: whether a row of a mask [B, T] holds anywhere. */
function anyOf(mask: Tensor): Tensor {
  return greater(max(cast(mask, "float32"), 1, true), 0);
}

function listOf<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

function frozen(encoded: Tensor, freeze = false): Tensor {
  return freeze ? detach(encoded) : encoded;
}

/** Views [B, ...] under one another: [V B, ...]. */
function together(views: readonly Tensor[]): Tensor {
  return views.length === 1 ? views[0]! : concat(views, 0);
}

/** The opposite of {@link together}; nothing of nothing. */
function apart(all: Tensor | undefined, count: number): readonly Tensor[] {
  if (all === undefined) return [];
  return count === 1 ? [all] : chunk(all, count, 0);
}
