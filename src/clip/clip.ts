import {
  detach,
  equal,
  exp,
  input,
  l2norm,
  linear,
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
import { contrastiveLoss } from "./contrastive.js";
import { type ClipOptions, clipOptionsSchema, type ResolvedClipOptions } from "./options.js";
import { rotatedWidth, TextTransformer } from "./text-transformer.js";
import { keptPatches, patchCount, VisionTransformer } from "./vision-transformer.js";

/** A batch, as symbolic tensors; {@link CLIP.inputs} makes one. */
export interface ClipInputs {
  /** int32 [B, T] */
  readonly text: Tensor;
  /** [B, C, H, W] */
  readonly image: Tensor;
  /** int32 [B, K]: patches kept by patch dropout; absent: all are kept, as in evaluation. */
  readonly patchIndices?: Tensor | undefined;
}

/** What {@link CLIP.loss} may be told beside the batch. */
export interface LossOptions {
  /** Train the text side against a fixed image encoder (LiT, Zhai et al., 2021); default false. */
  readonly freezeImageEncoder?: boolean;
  /** Train the image side against a fixed text encoder; default false. */
  readonly freezeTextEncoder?: boolean;
  /** bool [B, B] (text, image): pairs that are no negatives. */
  readonly excluded?: Tensor | undefined;
}

/**
 * A text and an image encoder whose latents meet in one space (CLIP, Radford et al., 2021), with the
 * options of x-clip. It builds graphs; a runtime runs them.
 */
export class CLIP {
  readonly options: ResolvedClipOptions;
  readonly #scope = new Scope();
  readonly #text: TextTransformer;
  readonly #image: VisionTransformer;
  readonly #textLatent: Tensor;
  readonly #imageLatent: Tensor;
  readonly #temperature: Tensor;

  /** @throws ClipsmithError if an option is unknown, of the wrong kind, or at odds with another. */
  constructor(options: ClipOptions = {}) {
    this.options = parseOptions(clipOptionsSchema, options, "CLIP");
    const o = this.options;
    if (o.visualImageSize % o.visualPatchSize !== 0) {
      throw new ClipsmithError(
        `CLIP: visualImageSize (${o.visualImageSize}) must be a multiple of visualPatchSize ` +
          `(${o.visualPatchSize})`,
      );
    }
    if (o.textRotaryPosEmb && rotatedWidth(o.textDimHead) % 2 !== 0) {
      throw new ClipsmithError(
        `CLIP: textDimHead (${o.textDimHead}) must be even for textRotaryPosEmb, which turns features in pairs`,
      );
    }
    // The order is that of x-clip's state_dict.
    this.#temperature = this.#scope.parameter("temperature", [], { kind: "constant", value: 1 });
    this.#text = new TextTransformer(this.#scope.child("text_transformer"), {
      width: o.dimText,
      numTokens: o.numTextTokens,
      maxSeqLen: o.textSeqLen,
      rotaryPosEmb: o.textRotaryPosEmb,
      depth: o.textEncDepth,
      heads: o.textHeads,
      dimHead: o.textDimHead,
    });
    this.#image = new VisionTransformer(this.#scope.child("visual_transformer"), {
      width: o.dimImage,
      imageSize: o.visualImageSize,
      patchSize: o.visualPatchSize,
      channels: o.channels,
      depth: o.visualEncDepth,
      heads: o.visualHeads,
      dimHead: o.visualDimHead,
    });
    this.#textLatent = this.#scope.linear("to_text_latent", o.dimLatent, o.dimText);
    this.#imageLatent = this.#scope.linear("to_visual_latent", o.dimLatent, o.dimImage);
    // Declared because x-clip's files have them; nothing reads them without extra projections.
    for (const [side, width] of [
      ["text", o.dimText],
      ["visual", o.dimImage],
    ] as const) {
      this.#scope.parameter(`to_${side}_latent_extra.weight`, [o.dimLatent, width], {
        kind: "copy",
        of: `to_${side}_latent.weight`,
      });
    }
  }

  /** All parameters by their names in x-clip's `state_dict`. */
  get parameters(): ReadonlyMap<string, Parameter> {
    return this.#scope.parameters;
  }

  /** How many numbers are learnt. */
  get parameterCount(): number {
    return [...this.parameters.values()]
      .filter(({ trainable }) => trainable)
      .reduce((count, { shape }) => count + shape.reduce((a, b) => a * b, 1), 0);
  }

  /** Name of the parameter that holds the logarithm of the logit scale. */
  static readonly logitScale = "temperature";

  /** Inputs named `text`, `image` and, where some patches are dropped, `patchIndices`. */
  inputs(
    batch: number | string,
    { textLength = this.options.textSeqLen, dropPatches = false } = {},
  ): ClipInputs {
    const { channels, visualImageSize } = this.options;
    const drops = dropPatches && this.keptPatches < this.patches;
    return {
      text: input("text", [batch, textLength], "int32"),
      image: input("image", [batch, channels, visualImageSize, visualImageSize]),
      patchIndices: drops ? input("patchIndices", [batch, this.keptPatches], "int32") : undefined,
    };
  }

  /** Number of patches P of a picture. */
  get patches(): number {
    const { visualImageSize: imageSize, visualPatchSize: patchSize } = this.options;
    return patchCount({ imageSize, patchSize });
  }

  /** Number of patches K that patch dropout keeps in training. */
  get keptPatches(): number {
    return keptPatches(this.patches, this.options.visualPatchDropout);
  }

  /**
   * Raw outputs of the text encoder, [B, 1 + T, dimText]; the first token is CLS.
   *
   * @param wanted how many tokens are wanted, from the first on: 1 is enough for latents, and less
   *   work. Default all.
   */
  encodeText(text: Tensor, wanted?: number): Tensor {
    const mask = not(equal(text, this.options.textPadId));
    return this.#text.call(text, this.options.textEncodeWithoutMask ? undefined : mask, wanted);
  }

  /** Raw outputs of the image encoder, [B, 1 + P, dimImage]; the first token is the pooled one. */
  encodeImage(image: Tensor, patchIndices?: Tensor): Tensor {
    return this.#image.call(image, patchIndices);
  }

  /** Latents [B, L] of length 1, from what {@link encodeText} gave. */
  textLatents(encoded: Tensor): Tensor {
    return l2norm(linear(firstToken(encoded), this.#textLatent));
  }

  /** Latents [B, L] of length 1, from what {@link encodeImage} gave. */
  imageLatents(encoded: Tensor): Tensor {
    return l2norm(linear(firstToken(encoded), this.#imageLatent));
  }

  /** Scalar that multiplies cosine similarities. */
  logitScale(): Tensor {
    return exp(this.#temperature);
  }

  /** Similarities of matching pairs, [B], times the logit scale. */
  similarities(text: Tensor, image: Tensor): Tensor {
    return mul(sum(mul(text, image), -1), this.logitScale());
  }

  /** Similarities of all texts with all images, [B, B] (text, image), times the logit scale. */
  similarityMatrix(text: Tensor, image: Tensor): Tensor {
    return mul(matmul(text, matrixTranspose(image)), this.logitScale());
  }

  /** The training loss, a scalar. */
  loss({ text, image, patchIndices }: ClipInputs, options: LossOptions = {}): Tensor {
    const frozen = (encoded: Tensor, freeze = false) => (freeze ? detach(encoded) : encoded);
    const encodedText = frozen(this.encodeText(text, 1), options.freezeTextEncoder);
    const encodedImage = frozen(this.encodeImage(image, patchIndices), options.freezeImageEncoder);
    return contrastiveLoss({
      text: this.textLatents(encodedText),
      image: this.imageLatents(encodedImage),
      scale: this.logitScale(),
      excluded: options.excluded,
      decoupled: this.options.decoupledContrastiveLearning,
    });
  }
}

/** [B, T, D] to [B, D] */
function firstToken(encoded: Tensor): Tensor {
  return reshape(slice(encoded, 1, 0, 1), [encoded.shape[0]!, encoded.shape[2]!]);
}
