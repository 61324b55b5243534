import { constant, exp, input, matrixTranspose, mul, type Tensor } from "../graph/index.js";
import { identityMask } from "./contrastive.js";
import type { ResolvedClipOptions } from "./options.js";
import { globalSimilarities, type Latents, tokenwiseSimilarities } from "./similarity.js";

/** A block of a batch's similarities: some of its texts with some of its images. */
export interface Tile {
  readonly texts: number;
  readonly images: number;
  /** Tokens T of a text and P of an image, where they are compared token by token. */
  readonly tokens?: { readonly text: number; readonly image: number } | undefined;
  /** Whether text i of the tile belongs to image i; if not, no text belongs to any of its images. */
  readonly matching: boolean;
  /** Whether some of its pairs are excluded; these are told by the input `excluded`. */
  readonly excluded: boolean;
  /** The same of the tile across the diagonal, by the input `mirrored`; see {@link imagesChoose}. */
  readonly mirrored: boolean;
  /** Whether statistics and gradients of its texts are wanted. */
  readonly ofTexts: boolean;
  /** Whether those of its images are. */
  readonly ofImages: boolean;
}

/** What a tile's graph reads, and the similarities it makes of that. */
export interface TileSimilarities {
  /** What gradients are wanted of, by the inputs' names: latents, `temperature` and `bias`. */
  readonly wanted: Readonly<Record<string, Tensor>>;
  readonly directions: readonly Direction[];
  /** What the sigmoid loss adds to similarities. */
  readonly bias: Tensor | undefined;
}

/** The similarities of a tile, seen by those that choose. */
export interface Direction {
  readonly name: "textToImage" | "imageToText";
  readonly similarities: Tensor;
  /** The axis along which candidates lie. */
  readonly axis: 0 | 1;
  /** Whether its statistics are wanted. */
  readonly wanted: boolean;
  /** bool, of the shape of `similarities`. */
  readonly matching: Tensor | undefined;
  /** bool, of the shape of `similarities`. */
  readonly excluded: Tensor | undefined;
}

/**
 * Whether it is images that choose from image to text. As x-clip compares token by token, it is texts, and
 * the pairs that are excluded are then those across the diagonal.
 */
export function imagesChoose({ compat, useAllTokenEmbeds }: ResolvedClipOptions): boolean {
  return !(compat === "x-clip" && useAllTokenEmbeds);
}

/** Similarities of one tile, from inputs named as the fields of `Views`, `temperature` and `bias`. */
export function tileSimilarities(options: ResolvedClipOptions, tile: Tile): TileSimilarities {
  const { dimLatent } = options;
  const extra = options.extraLatentProjection || options.hopfieldRetrieval;
  const rows = (name: string, count: number, tokens: number | undefined) =>
    input(name, tokens === undefined ? [count, dimLatent] : [count, tokens, dimLatent]);
  const texts = (name: string) => rows(name, tile.texts, tile.tokens?.text);
  const images = (name: string) => rows(name, tile.images, tile.tokens?.image);
  const ofTexts = { text: texts("text"), ...(extra && { textExtra: texts("textExtra") }) };
  const ofImages = { image: images("image"), ...(extra && { imageExtra: images("imageExtra") }) };
  const temperature = input("temperature", []);
  const bias = options.sigmoidLoss ? input("bias", []) : undefined;

  // Texts are scaled in place of similarities, of which there are more.
  const scale = exp(temperature);
  const latents: Latents = {
    ...ofImages,
    text: mul(ofTexts.text, scale),
    textExtra: ofTexts.textExtra && mul(ofTexts.textExtra, scale),
  };
  return {
    // Every pair counts once in the scalars' gradients: where its text's are wanted.
    wanted: {
      ...(tile.ofTexts && { ...ofTexts, temperature, ...(bias && { bias }) }),
      ...(tile.ofImages && ofImages),
    },
    directions: directionsOf(options, tile, latents),
    bias,
  };
}

function directionsOf(options: ResolvedClipOptions, tile: Tile, latents: Latents): Direction[] {
  const one = constant(1);
  const mask = (name: string, wanted: boolean, shape: readonly number[]) =>
    wanted ? input(name, shape, "bool") : undefined;
  const excluded = mask("excluded", tile.excluded, [tile.texts, tile.images]);
  const mirrored = mask("mirrored", tile.mirrored, [tile.images, tile.texts]);
  const { textToImage, imageToText } = tile.tokens
    ? tokenwiseSimilarities(
        { ...latents, textMask: input("textMask", [tile.texts, tile.tokens.text], "bool") },
        one,
        options.compat === "x-clip",
      )
    : globalSimilarities(latents, one);
  const direction = (
    name: Direction["name"],
    similarities: Tensor,
    axis: Direction["axis"],
    ofTexts: boolean,
    excluded: Tensor | undefined,
  ): Direction => ({
    name,
    similarities,
    axis,
    wanted: ofTexts ? tile.ofTexts : tile.ofImages,
    matching: tile.matching ? identityMask(similarities) : undefined,
    excluded,
  });
  const forward = direction("textToImage", textToImage, 1, true, excluded);
  if (!imagesChoose(options)) {
    const across = mirrored && matrixTranspose(mirrored);
    return [forward, direction("imageToText", imageToText, 1, true, across)];
  }
  if (!tile.tokens && !latents.textExtra) {
    // The same numbers as a transposed matrix, which need not be made.
    return [forward, direction("imageToText", textToImage, 0, false, excluded)];
  }
  const across = excluded && matrixTranspose(excluded);
  return [forward, direction("imageToText", imageToText, 1, false, across)];
}
