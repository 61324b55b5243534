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
import type { ClipInputs, ImageInputs, InputOptions, TextInputs } from "./inputs.js";
import type { ImageSide, Losses, LossOptions, LossTerms, TextSide } from "./losses.js";
import { MaskedLanguageModel } from "./masked-language-model.js";
import { mlmTokenIds } from "./mlm-options.js";
import { objective, weighted } from "./objective.js";
import { type ClipOptions, clipOptionsSchema, type ResolvedClipOptions } from "./options.js";
import type { ClipParts, VisualSsl } from "./parts.js";
import { DownsamplingProjection, LinearProjection, onGrid, shuffledRows } from "./projection.js";
import { whole } from "./similarity.js";
import { TextTower } from "./text-tower.js";
import { SimCLR, SimSiam, type VisualSslInputs } from "./visual-ssl/index.js";

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
    const texts = this.textSide(inputs, options);
    const images = this.imageSide(inputs, options);
    const views = { texts: texts.views, images: images.views };
    const scalars = { scale: this.logitScale(), bias: this.#bias };
    const terms: LossTerms = {
      ...objective(this.options, views, scalars, options.excluded),
      ...(texts.textSsl && { textSsl: texts.textSsl }),
      ...(images.imageSsl && { imageSsl: images.imageSsl }),
    };
    return { loss: this.#weigh(terms), terms, buffers: images.buffers };
  }

  /** What the loss needs of a batch's texts alone. */
  textSide(inputs: TextInputs, options: LossOptions = {}): TextSide {
    const { text, augText = [] } = inputs;
    const { extraLatentProjection: extra, useAllTokenEmbeds } = this.options;
    // All views go through an encoder at once.
    const texts = together([text, ...augText]);
    const encoded = frozen(
      this.encodeText(texts, useAllTokenEmbeds ? undefined : 1),
      options.freezeTextEncoder,
    );
    const views = (all: Tensor | undefined) => apart(all, 1 + augText.length);
    const masks = views(this.textMask(texts));
    const extras = views(extra ? this.textLatentsExtra(encoded) : undefined);
    return {
      views: views(this.textLatents(encoded)).map((text, i) => ({
        text,
        textExtra: extras[i],
        textMask: masks[i],
      })),
      textSsl: this.#mlm && inputs.mlm && this.#textSsl(this.#mlm, inputs, options),
    };
  }

  /** What the loss needs of a batch's images alone. */
  imageSide(inputs: ImageInputs, options: LossOptions = {}): ImageSide {
    const { image, patchIndices, augImage = [] } = inputs;
    const { extraLatentProjection: extra } = this.options;
    const encoded = frozen(
      this.encodeImage(together([image, ...augImage]), patchIndices),
      options.freezeImageEncoder,
    );
    const views = (all: Tensor | undefined) => apart(all, 1 + augImage.length);
    const extras = views(extra ? this.imageLatentsExtra(encoded, patchIndices) : undefined);
    const updates = new BufferUpdates();
    return {
      views: views(this.imageLatents(encoded, patchIndices)).map((image, i) => ({
        image,
        imageExtra: extras[i],
      })),
      imageSsl:
        this.#visualSsl &&
        inputs.ssl &&
        this.#imageSsl(this.#visualSsl, inputs.ssl, options, updates),
      buffers: updates.values,
    };
  }

  // x-clip trains a frozen encoder by self-supervision all the same.

  #textSsl(
    mlm: MaskedLanguageModel,
    { text, mlm: masked }: TextInputs,
    { freezeTextEncoder }: LossOptions,
  ): Tensor {
    const words = this.#text.encodeWords(masked!.sequence, text);
    return mlm.loss(frozen(words, freezeTextEncoder && !this.options.compat), masked!.labels);
  }

  #imageSsl(
    ssl: VisualSsl,
    inputs: VisualSslInputs,
    { freezeImageEncoder }: LossOptions,
    updates: BufferUpdates,
  ): Tensor {
    const { visualSslHiddenLayer, compat } = this.options;
    const encode = (image: Tensor, kept?: Tensor) =>
      frozen(
        this.#image.encodeLayer(visualSslHiddenLayer, image, kept),
        freezeImageEncoder && !compat,
      );
    return ssl.loss(encode, inputs, updates);
  }

  /**
   * What each of a loss's terms weighs. It is x-clip's bookkeeping: what other terms weigh, the contrastive
   * one doesn't; regularisation is added.
   */
  termWeights(terms: Iterable<keyof LossTerms>): ReadonlyMap<keyof LossTerms, number> {
    const o = this.options;
    const present = new Set(terms);
    const others = (
      [
        ["textSsl", o.textSslLossWeight],
        ["imageSsl", imageSslWeight(o)],
        ["multiview", o.multiviewLossWeight],
      ] as const
    ).filter(([term]) => present.has(term));
    const weighed = others.reduce((sum, [, weight]) => sum + weight, 0);
    return new Map<keyof LossTerms, number>([
      ["contrastive", 1 - weighed],
      ...others,
      ...(present.has("similarityRegularisation")
        ? ([["similarityRegularisation", o.simRegLossWeight]] as const)
        : []),
    ]);
  }

  #weigh(terms: LossTerms): Tensor {
    const weights = this.termWeights(Object.keys(terms) as (keyof LossTerms)[]);
    return weighted([...weights].map(([term, weight]) => [weight, terms[term]!]));
  }

  /** How many of masked language modelling's labels ask for a word; the loss is their mean. */
  labelCount(labels: Int32Array): number {
    const { pad } = mlmTokenIds(this.options, this.options.compat);
    return labels.reduce((count, label) => count + Number(label !== pad), 0);
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
