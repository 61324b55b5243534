import { ClipsmithError } from "../util/errors.js";

/** Where in CLIP a parameter is, by its `state_dict` name. */
export type Place = "textEncoder" | "imageEncoder" | "heads";

/** What is set for groups of parameters. */
export interface GroupOptions {
  /** Factors of the learning rate. */
  readonly learningRateFactors: Readonly<Record<Place, number>>;
  /** What each layer of an encoder learns slower than the one after it; see {@link layerFactors}. */
  readonly layerDecay: number;
  readonly freeze: readonly Freeze[];
}

/** Parameters that stay as they are, for the whole run or up to a step. */
export interface Freeze {
  /** Names; `*` stands for any letters, dots too. */
  readonly match: string;
  /** How many steps of the run they are frozen for; left out: all. */
  readonly untilStep?: number | undefined;
}

const encoders = { textEncoder: "text_transformer.", imageEncoder: "visual_transformer." } as const;

/** What becomes of each parameter: how fast it learns, and from which step on. */
export class ParameterGroups {
  readonly #factors: ReadonlyMap<string, number>;
  /** Steps that each frozen parameter stays as it is. */
  readonly #steps: ReadonlyMap<string, number>;

  /**
   * @param names of all parameters that can be learnt, in the model's order
   * @throws ClipsmithError if a pattern of `freeze` matches no name, or nothing is left to learn
   */
  constructor(names: readonly string[], { learningRateFactors, layerDecay, freeze }: GroupOptions) {
    const factors = new Map(names.map((name) => [name, learningRateFactors[placeOf(name)]]));
    for (const prefix of Object.values(encoders)) {
      const own = names.filter((name) => name.startsWith(prefix));
      for (const [name, factor] of layerFactors(own, layerDecay)) {
        factors.set(name, factors.get(name)! * factor);
      }
    }
    this.#factors = factors;
    const steps = new Map<string, number>();
    for (const { match, untilStep = Number.POSITIVE_INFINITY } of freeze) {
      for (const name of matching(names, match, "training.freeze")) {
        steps.set(name, Math.max(untilStep, steps.get(name) ?? 0));
      }
    }
    this.#steps = steps;
    if (this.frozenAt(0).size === names.length) {
      throw new ClipsmithError(
        "training.freeze: all parameters are frozen, and nothing is left to learn. Leave some out.",
      );
    }
  }

  /** What the learning rate of a parameter is multiplied by. */
  factorOf(name: string): number {
    return this.#factors.get(name)!;
  }

  /** Parameters that stay as they are in a step, counted from 0. */
  frozenAt(step: number): ReadonlySet<string> {
    return new Set([...this.#steps].filter(([, steps]) => step < steps).map(([name]) => name));
  }

  /** Parameters that stay as they are in every step. */
  get frozen(): ReadonlySet<string> {
    return this.frozenAt(Number.MAX_SAFE_INTEGER);
  }
}

function placeOf(name: string): Place {
  if (name.startsWith(encoders.textEncoder)) return "textEncoder";
  return name.startsWith(encoders.imageEncoder) ? "imageEncoder" : "heads";
}

/**
 * Layer-wise decay of the learning rate (Clark et al., "ELECTRA", ICLR 2020; Bao et al., "BEiT", ICLR 2022):
 * the layer k of N of an encoder learns at decay^(N + 1 - k) of the rate, the embeddings before the first
 * layer at decay^(N + 1), and what follows the last at the whole. A layer is known by `layers.K.` in its
 * names. An encoder without layers learns at the whole rate.
 *
 * @param names of one encoder, in its order: those before its first layer are embeddings
 */
export function layerFactors(names: readonly string[], decay: number): Map<string, number> {
  const layers = names.map((name) => {
    const layer = /(?:^|\.)layers\.(\d+)\./.exec(name)?.[1];
    return layer === undefined ? undefined : Number(layer) + 1;
  });
  const first = layers.findIndex((layer) => layer !== undefined);
  const top = Math.max(-1, ...layers.flatMap((layer) => layer ?? [])) + 1;
  return new Map(
    names.map((name, i) => {
      // x-clip declares its transformer's first norm after the layers.
      const isEmbedding = i < first || name.endsWith(".norm_in.g");
      return [name, decay ** (top - (layers[i] ?? (isEmbedding ? 0 : top)))];
    }),
  );
}

/**
 * The names that a pattern matches, in which `*` stands for any letters, dots too.
 *
 * @param where names the pattern's option in the error
 * @throws ClipsmithError if there is none
 */
export function matching(names: readonly string[], pattern: string, where: string): string[] {
  const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  const expression = new RegExp(`^${escaped}$`);
  const found = names.filter((name) => expression.test(name));
  if (found.length === 0) {
    const known = new Set(names.map((name) => name.replace(/\..*/, ".*")));
    throw new ClipsmithError(
      `${where}: no parameter is named ${pattern}; * stands for any letters. There are ` +
        `${[...known].join(", ")}.`,
    );
  }
  return found;
}
