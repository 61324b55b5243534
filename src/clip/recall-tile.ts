/** Hopfield retrieval tile by tile: some of the queries with some of what is stored. */
import { div, exp, input, l2norm, matmul, mul, pullback, sub, sum } from "../graph/index.js";
import { recallLogits } from "./hopfield.js";
import type { ResolvedClipOptions } from "./options.js";
import { logSumExpParts, type NamedTensors, named } from "./tile-graphs.js";

/** How many queries and stored vectors there are in a tile, and of which gradients are wanted. */
export interface RecallTile {
  readonly queries: number;
  readonly stored: number;
  readonly ofQueries: boolean;
  readonly ofStored: boolean;
}

function tileLogits(options: ResolvedClipOptions, { queries, stored }: RecallTile) {
  const query = input("query", [queries, options.dimLatent]);
  const memory = input("memory", [stored, options.dimLatent]);
  return { query, memory, logits: recallLogits(query, memory, options.hopfieldSharpness) };
}

/** Statistics of a tile's queries: `top` and `total`, as those of the contrastive loss. */
export function recallStatistics(options: ResolvedClipOptions, tile: RecallTile): NamedTensors {
  return logSumExpParts(tileLogits(options, tile).logits, 1);
}

/** What a tile adds to what its queries retrieve. */
function retrievedFrom(options: ResolvedClipOptions, tile: RecallTile) {
  const { query, memory, logits } = tileLogits(options, tile);
  const column = (name: string) => input(name, [tile.queries, 1]);
  // `total` depends on the logits too. But what it changes is the length of what is retrieved, of which only
  // the direction counts: its derivative adds nothing.
  const weights = exp(sub(logits, column("top")));
  return { query, memory, retrieved: div(matmul(weights, memory), column("total")) };
}

/**
 * `retrieved` [queries, L]: what a tile adds to what its queries retrieve, which are told `top` and `total` over
 * all that is stored.
 */
export function recallTile(options: ResolvedClipOptions, tile: RecallTile): NamedTensors {
  return { retrieved: retrievedFrom(options, tile).retrieved };
}

/** Retrieved vectors `retrieved` [N, L]: `unit`, those of length 1 that are compared, and `length` [N]. */
export function recallUnits(options: ResolvedClipOptions, count: number): NamedTensors {
  const retrieved = input("retrieved", [count, options.dimLatent]);
  const unit = l2norm(retrieved);
  return { unit, length: sum(mul(unit, retrieved), -1) };
}

/** `ofRetrieved` [N, L], the gradient of what was retrieved, from `unit`, its gradient `ofUnit` and `length` [N, 1]. */
export function recallUnitGradients(options: ResolvedClipOptions, count: number): NamedTensors {
  const shape = [count, options.dimLatent];
  const retrieved = mul(input("unit", shape), input("length", [count, 1]));
  const [ofRetrieved] = pullback([l2norm(retrieved)], [input("ofUnit", shape)], [retrieved]);
  return { ofRetrieved: ofRetrieved! };
}

/**
 * Gradients of a tile's queries and of what is stored. The queries are told `top` and `total` over all that is
 * stored, and the gradient `ofRetrieved` of what they retrieved.
 */
export function recallGradients(options: ResolvedClipOptions, tile: RecallTile): NamedTensors {
  const { query, memory, retrieved } = retrievedFrom(options, tile);
  const ofRetrieved = input("ofRetrieved", [tile.queries, options.dimLatent]);
  const wanted = { ...(tile.ofQueries && { query }), ...(tile.ofStored && { memory }) };
  return named(wanted, pullback([retrieved], [ofRetrieved], Object.values(wanted)));
}
