import { join, resolve } from "node:path";
import type { CLIP } from "../clip/index.js";
import type { Tokenizer } from "../data/index.js";
import { loadDescription, type ModelConfigInput, modelFiles } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { namesOf } from "../util/names.js";
import { asFloat32, readSafetensors, type SafetensorsTensor } from "../weights/index.js";
import { matching } from "./groups.js";

/** A model whose weights another starts from, or some of them. */
export interface InitOptions {
  /** Folder of the model: of a finished run, or one that `clipsmith import` wrote. */
  readonly from: string;
  /** Which parameters are taken, `*` standing for any letters. Default: all. */
  readonly only?: string | undefined;
}

/** The model that a new run starts from. */
export class Init {
  /** Options of the new model, unless others are given. */
  readonly model: Omit<ModelConfigInput, "format">;
  /** The tokenizer that the weights of the text encoder belong to, if they are taken. */
  readonly tokenizer: Tokenizer | undefined;
  readonly #options: InitOptions;
  readonly #tensors: ReadonlyMap<string, SafetensorsTensor>;

  private constructor(
    options: InitOptions,
    { model, tokenizer }: Pick<Init, "model" | "tokenizer">,
    tensors: ReadonlyMap<string, SafetensorsTensor>,
  ) {
    this.#options = options;
    this.model = model;
    this.tokenizer = tokenizer;
    this.#tensors = tensors;
  }

  /**
   * @param folder of the new run
   * @throws ClipsmithError if the model cannot be read, is that of `folder` itself, or has no parameter
   *   that `only` matches
   */
  static async load(options: InitOptions, folder: string): Promise<Init> {
    const { from, only = "*" } = options;
    if (resolve(from) === resolve(folder)) {
      throw new ClipsmithError(
        `training.init: the model in ${from} cannot start the run that replaces it. Choose another --out.`,
      );
    }
    const { config, tokenizer } = await loadDescription(from);
    const { tensors } = await readSafetensors(join(from, modelFiles.weights));
    const taken = matching([...tensors.keys()], only, `training.init: ${from}`);
    const { format: _, clip, preprocessing } = config;
    if (taken.some((name) => name.startsWith("text_transformer."))) {
      const model = { clip, preprocessing };
      return new Init(options, { model, tokenizer }, pick(tensors, taken));
    }
    // A text encoder that starts afresh reads the captions with a tokenizer of their own.
    const { numTextTokens, textSeqLen, textPadId, textEosId, ...others } = clip;
    const model = { clip: others, preprocessing };
    return new Init(options, { model, tokenizer: undefined }, pick(tensors, taken));
  }

  /**
   * Puts what is taken into the starting weights of a model.
   *
   * @returns warnings, of parameters that are asked for and start afresh
   * @throws ClipsmithError naming the tensors of another shape; the weights are left as they are then
   */
  apply({ parameters }: CLIP, weights: Map<string, Float32Array>): string[] {
    const { from, only } = this.#options;
    const wrong: string[] = [];
    const found = new Map<string, Float32Array>();
    for (const [name, { shape }] of parameters) {
      const tensor = this.#tensors.get(name);
      if (tensor === undefined) continue;
      const [wanted, has] = [shape, tensor.shape].map((dims) => `[${dims.join(", ")}]`);
      if (has === wanted) found.set(name, asFloat32(tensor));
      else wrong.push(`${name} should be ${wanted}, is ${has}`);
    }
    if (wrong.length > 0) {
      throw new ClipsmithError(
        `training.init: the weights in ${from} do not fit the model: ${namesOf(wrong)}. Leave the ` +
          "options of these parts to that model, or take only other parts by --init-only, such as " +
          "'visual_transformer.*'.",
      );
    }
    for (const [name, values] of found) weights.set(name, values);
    const fresh = [...parameters.keys()].filter((name) => !found.has(name));
    return only === undefined && fresh.length > 0
      ? [`${from} does not have these, which start afresh: ${namesOf(fresh)}.`]
      : [];
  }
}

function pick<T>(tensors: ReadonlyMap<string, T>, names: readonly string[]): Map<string, T> {
  return new Map(names.map((name) => [name, tensors.get(name)!]));
}
