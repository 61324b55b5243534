/** What the tests of CLIP share: a tiny model, and values for its inputs. */
import { evaluate, graph, type Tensor, type Value } from "../graph/index.js";
import { floats, integers } from "../graph/testing.js";
import type { CLIP } from "./clip.js";
import type { ClipOptions } from "./options.js";

export const tiny: ClipOptions = {
  dimText: 8,
  dimImage: 12,
  dimLatent: 4,
  numTextTokens: 20,
  textEncDepth: 1,
  textSeqLen: 6,
  textHeads: 2,
  textDimHead: 4,
  visualEncDepth: 1,
  visualHeads: 2,
  visualDimHead: 4,
  visualImageSize: 8,
  visualPatchSize: 4,
  visualPatchDropout: 0.5,
};

/** Values for all parameters. */
export function parametersOf(clip: CLIP): Record<string, Value> {
  return Object.fromEntries(
    [...clip.parameters].map(([name, { shape }]) => [name, floats(shape, -1, 1, name)]),
  );
}

/** Token ids of B texts of 6 tokens, of several lengths. */
export function textOf(batch: number): Value {
  const tokens = integers([batch, 6], 1, 20, "int32");
  return { ...tokens, data: tokens.data.map((id, i) => (i % 6 <= (i / 6) % 5 ? id : 0)) };
}

/** The elements of a tensor for the inputs' values. */
export function outputOf(y: Tensor, values: Readonly<Record<string, Value>>): Float64Array {
  return evaluate(graph({ y }), values).y!.data;
}
