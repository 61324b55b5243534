import {
  type CLIP,
  gradientOf,
  type ImageSide,
  type LossOptions,
  type TextSide,
} from "../clip/index.js";
import { graph, input, isFloat, pullback, type Tensor } from "../graph/index.js";
import { type Feeds, ProgramCache, type RuntimeOptions } from "../runtime/index.js";
import { newValueOf, renamed } from "./graph-names.js";
import { flatViews, type Latents } from "./latents.js";
import { type Arrays, stepRuntime } from "./loss-gradients.js";

/** What the loss needs of a chunk's texts or of its images, and of no others. */
export interface SideGraph {
  /** Latents of all views and their masks by name, such as `texts.0.text`; [rows, ...]. */
  readonly latents: ReadonlyMap<string, Tensor>;
  /** The term of the loss that the side has for itself, a scalar. */
  readonly ownTerm: Tensor | undefined;
  /** What becomes of buffers, by their names. */
  readonly buffers: ReadonlyMap<string, Tensor>;
}

const OWN_TERM = "own term";
const OWN_WEIGHT = "weight of own term";

/** The texts' side of a chunk of so many pairs. */
export function textGraph(
  clip: CLIP,
  rows: number,
  { textLength, augTexts }: { readonly textLength: number; readonly augTexts: number },
  options: LossOptions,
): SideGraph {
  const inputs = clip.inputs(rows, { textLength, training: true, augTexts });
  const { views, textSsl }: TextSide = clip.textSide(inputs, options);
  return {
    latents: new Map(Object.entries(flatViews<Tensor>("texts", views))),
    ownTerm: textSsl,
    buffers: new Map(),
  };
}

/** The images' side of a chunk of so many pairs. */
export function imageGraph(
  clip: CLIP,
  rows: number,
  { augImages }: { readonly augImages: number },
  options: LossOptions,
): SideGraph {
  const inputs = clip.inputs(rows, { training: true, augImages });
  const { views, imageSsl, buffers }: ImageSide = clip.imageSide(inputs, options);
  return {
    latents: new Map(Object.entries(flatViews<Tensor>("images", views))),
    ownTerm: imageSsl,
    buffers,
  };
}

/**
 * One side of a step in chunks: encodes a chunk, and pulls the gradients of its latents back to the
 * parameters. Programs are compiled for the sizes of chunks that come.
 */
export class Side {
  /** The parameters that have a gradient. */
  readonly learnt: ReadonlySet<string>;
  /** The buffers that a chunk changes. */
  readonly changed: ReadonlySet<string>;
  readonly hasOwnTerm: boolean;
  readonly #graphOf: (rows: number) => SideGraph;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #commonRows: number;
  readonly #commonPrograms: ProgramCache;
  readonly #otherPrograms: ProgramCache;

  /**
   * @param graphOf makes the graph of a chunk of so many pairs.
   * @param parameters those that may learn.
   * @param commonRows the size of most chunks. Programs for others do not keep their memory, or it would add up.
   */
  constructor(
    graphOf: (rows: number) => SideGraph,
    parameters: ReadonlyMap<string, Tensor>,
    commonRows: number,
    runtime: RuntimeOptions | undefined,
  ) {
    this.#graphOf = graphOf;
    this.#parameters = parameters;
    this.#commonRows = commonRows;
    this.#commonPrograms = new ProgramCache(stepRuntime(runtime));
    this.#otherPrograms = new ProgramCache(runtime);
    const side = graphOf(2);
    this.hasOwnTerm = side.ownTerm !== undefined;
    this.changed = new Set(side.buffers.keys());
    this.learnt = new Set(this.#gradients(side).keys());
  }

  /** The chunk's latents. */
  async encode(feeds: Feeds, rows: number): Promise<Latents> {
    const program = await this.#programsFor(rows).get(`encode ${rows}`, () =>
      graph(Object.fromEntries(this.#graphOf(rows).latents)),
    );
    return program.run(feeds);
  }

  /**
   * The gradients of the chunk's part of the loss.
   *
   * @param ownWeight what the own term of this chunk weighs in the loss.
   * @param gradients take those of all that is `learnt`, in place of what they hold.
   * @param newValues take those of all that is `changed`.
   * @returns the value of the own term; 0 if there is none.
   */
  async pullBack(
    feeds: Feeds,
    rows: number,
    latentGradients: Latents,
    ownWeight: number,
    gradients: Arrays,
    newValues: Arrays,
  ): Promise<number> {
    if (this.learnt.size === 0 && !this.hasOwnTerm) return 0;
    const program = await this.#programsFor(rows).get(`pull back ${rows}`, () => {
      const side = this.#graphOf(rows);
      return graph({
        ...(side.ownTerm && { [OWN_TERM]: side.ownTerm }),
        ...renamed(this.#gradients(side), gradientOf),
        ...renamed(side.buffers, newValueOf),
      });
    });
    const found = await program.run(
      {
        ...feeds,
        ...renamed(Object.entries(latentGradients), gradientOf),
        [OWN_WEIGHT]: Float32Array.of(ownWeight),
      },
      { ...renamed(gradients, gradientOf), ...renamed(newValues, newValueOf) },
    );
    return this.hasOwnTerm ? (found[OWN_TERM] as Float32Array)[0]! : 0;
  }

  async release(): Promise<void> {
    await this.#commonPrograms.release();
    await this.#otherPrograms.release();
  }

  #programsFor(rows: number): ProgramCache {
    return rows === this.#commonRows ? this.#commonPrograms : this.#otherPrograms;
  }

  /** The parameters' gradients, from inputs that stand for those of the latents. */
  #gradients({ latents, ownTerm }: SideGraph): Map<string, Tensor> {
    const floats = [...latents].filter(([, { dtype }]) => isFloat(dtype));
    const outputs = floats.map(([, tensor]) => tensor);
    const received = floats.map(([name, { shape }]) => input(gradientOf(name), shape));
    if (ownTerm) {
      outputs.push(ownTerm);
      received.push(input(OWN_WEIGHT, []));
    }
    const names = [...this.#parameters.keys()];
    const found = pullback(outputs, received, [...this.#parameters.values()]);
    return new Map(names.flatMap((name, i) => (found[i] ? [[name, found[i]] as const] : [])));
  }
}
