/**
 * The parts of an objective, tile by tile. A log-sum-exp over all candidates needs two passes: statistics
 * of every tile first, then the gradients of every tile. What is a plain sum over pairs needs one.
 *
 * Inputs and outputs of the graphs have names; gradients are outputs as `gradientOf` names them.
 */
import {
  add,
  cast,
  div,
  exp,
  grad,
  input,
  max,
  mul,
  pullback,
  reshape,
  sub,
  sum,
  type Tensor,
  where,
} from "../graph/index.js";
import { candidateSimilarities, choiceLoss, matchingSimilarities } from "./contrastive.js";
import { contrastiveOptions } from "./objective.js";
import type { ResolvedClipOptions } from "./options.js";
import { pairLosses } from "./sigmoid.js";
import type { Latents } from "./similarity.js";
import { squaredDifferences, wholeProjections } from "./similarity-regularisation.js";
import { type Direction, type Tile, tileSimilarities } from "./tile.js";

/** Outputs of a graph, or tensors to be differentiated by, by name. */
export type NamedTensors = Readonly<Record<string, Tensor>>;

/** Name of the output that holds the gradient with respect to an input. */
export const gradientOf = (name: string) => `gradient of ${name}`;

/**
 * Statistics of those that choose in a tile, for each direction that is wanted: `textToImage.top`, the
 * largest similarity to a candidate, and `.total`, the sum of exp(similarity - top) over the candidates; in
 * a matching tile also `.own`, the similarity of the pair. All have one number a row.
 */
export function contrastiveStatistics(options: ResolvedClipOptions, tile: Tile): NamedTensors {
  const outputs: Record<string, Tensor> = {};
  for (const direction of tileSimilarities(options, tile).directions) {
    const { name, similarities, axis, matching, wanted } = direction;
    if (!wanted) continue;
    const shown = candidatesOf(options, direction);
    Object.assign(outputs, logSumExpParts(shown, axis, `${name}.`));
    if (matching) outputs[`${name}.own`] = matchingSimilarities(similarities, matching);
  }
  return outputs;
}

/** Of a log-sum-exp over part of an axis: its largest element `top`, and `total`, the sum of exp(x - top). */
export function logSumExpParts(x: Tensor, axis: 0 | 1, prefix = ""): NamedTensors {
  const top = max(x, axis, true);
  return {
    [`${prefix}top`]: reshape(top, [-1]),
    [`${prefix}total`]: sum(exp(sub(x, top)), axis),
  };
}

/**
 * The contrastive loss of B pairs from `textToImage.candidates`, the log-sum-exps over all candidates, and
 * `textToImage.own`, the similarities of pairs (and `imageToText`'s), float64 [B]: `loss`, and the gradients
 * of all four.
 */
export function contrastiveRows(options: ResolvedClipOptions, batch: number): NamedTensors {
  const column = (name: string) => input(name, [batch], "float64");
  const wanted: Record<string, Tensor> = {};
  const losses = (["textToImage", "imageToText"] as const).map((name) => {
    const choices = { candidates: column(`${name}.candidates`), own: column(`${name}.own`) };
    wanted[`${name}.candidates`] = choices.candidates;
    wanted[`${name}.own`] = choices.own;
    return choiceLoss(choices, { ...contrastiveOptions(options), hides: true });
  });
  return withGradients(meanOf(losses), wanted);
}

/**
 * Gradients of the contrastive loss with respect to what a tile reads. For each direction it is told, one
 * number a row, `textToImage.top`, the largest similarity to any candidate, and `.factor`, the gradient of the
 * log-sum-exp over the sum of exp(similarity - top), both over all candidates; in a matching tile also `.own`,
 * the gradient of the pair's own similarity.
 */
export function contrastiveGradients(options: ResolvedClipOptions, tile: Tile): NamedTensors {
  const { directions, wanted } = tileSimilarities(options, tile);
  const gradients = directions.map((direction) => {
    const { name, similarities, axis, matching } = direction;
    const [rows, columns] = similarities.shape as [number, number];
    const column = (what: string) =>
      input(`${name}.${what}`, axis === 1 ? [rows, 1] : [1, columns]);
    // The derivative of a log-sum-exp is the softmax. To take the top away first is exact; the log-sum-exp
    // itself would be rounded as coarsely as similarities are large.
    const softmax = exp(sub(candidatesOf(options, direction), column("top")));
    const ofCandidates = mul(softmax, column("factor"));
    if (!matching) return ofCandidates;
    return add(ofCandidates, where(matching, input(`${name}.own`, [rows, 1]), 0));
  });
  const similarities = directions.map((direction) => direction.similarities);
  return named(wanted, pullback(similarities, gradients, Object.values(wanted)));
}

function candidatesOf(options: ResolvedClipOptions, direction: Direction): Tensor {
  const { similarities, matching, excluded } = direction;
  const { decoupled } = contrastiveOptions(options);
  return candidateSimilarities(similarities, decoupled ? matching : undefined, excluded);
}

/** A tile's part of the sigmoid loss, summed over pairs: `loss`, float64, and gradients. */
export function sigmoidTile(options: ResolvedClipOptions, tile: Tile): NamedTensors {
  const { directions, bias, wanted } = tileSimilarities(options, tile);
  // Where both directions are the same numbers, one will do.
  const [forward, backward] = directions as [Direction, Direction];
  const different = backward.axis === 1 ? [forward, backward] : [forward];
  const losses = different.map(({ similarities, matching, excluded }) =>
    summed(pairLosses(similarities, bias!, matching, excluded)),
  );
  return withGradients(meanOf(losses), wanted, tile.ofTexts);
}

/** Samples to be compared with others by {@link regularisationTile}. */
export type RegularisationTile = Pick<Tile, "texts" | "images" | "tokens" | "matching">;

/**
 * A tile's part of the similarity regularisation, summed over pairs of one of `texts` samples and another
 * of `images`: `loss`, float64, and the gradients of the first, which are half of theirs in the sum over
 * all tiles, for every pair counts twice. The inputs of the other samples are named `other.text` and so on.
 */
export function regularisationTile(
  options: ResolvedClipOptions,
  { texts, images, tokens, matching }: RegularisationTile,
): NamedTensors {
  const { dimLatent, extraLatentProjection: extra } = options;
  const latents = (prefix: string, count: number) => {
    const rows = (name: string, length: number | undefined) =>
      input(prefix + name, length === undefined ? [count, dimLatent] : [count, length, dimLatent]);
    const mask = tokens && input(`${prefix}textMask`, [count, tokens.text], "bool");
    const floats = {
      text: rows("text", tokens?.text),
      image: rows("image", tokens?.image),
      ...(extra && {
        textExtra: rows("textExtra", tokens?.text),
        imageExtra: rows("imageExtra", tokens?.image),
      }),
    };
    return { floats, latents: { ...floats, textMask: mask } satisfies Latents };
  };
  const some = latents("", texts);
  const others = wholeProjections(latents("other.", images).latents);
  const losses = wholeProjections(some.latents).map((sides, i) =>
    summed(squaredDifferences(sides, others[i]!, matching)),
  );
  return withGradients(meanOf(losses), some.floats);
}

/** The sum of all elements of a matrix: of rows in float32, of these in float64. */
function summed(x: Tensor): Tensor {
  return sum(cast(sum(x, 1), "float64"), 0);
}

function meanOf(losses: readonly Tensor[]): Tensor {
  return losses.length > 1 ? div(losses.reduce(add), losses.length) : losses[0]!;
}

/** Outputs `loss` and its gradients; without the loss itself unless it `counts`. */
function withGradients(loss: Tensor, wanted: NamedTensors, counts = true): NamedTensors {
  return { ...(counts && { loss }), ...named(wanted, grad(loss, Object.values(wanted))) };
}

/** Gradients as outputs, those that there are. */
export function named(
  wanted: NamedTensors,
  gradients: readonly (Tensor | undefined)[],
): NamedTensors {
  const known = Object.keys(wanted).flatMap((name, i) => {
    const gradient = gradients[i];
    return gradient ? [[gradientOf(name), gradient] as const] : [];
  });
  return Object.fromEntries(known);
}
