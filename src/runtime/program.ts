import { type Data, type DType, dtypes, formatShape, type Graph } from "../graph/index.js";
import { emit } from "../onnx/index.js";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { type RuntimeOptions, sessionOptions } from "./options.js";
import * as ort from "./ort.js";

/** Values by name. */
export type Feeds = Readonly<Record<string, Data>>;

/** A graph compiled by ONNX Runtime, ready to run. Release it when it is no longer needed. */
export class Program {
  readonly #graph: Graph;
  readonly #session: ort.InferenceSession;
  #released = false;

  private constructor(graph: Graph, session: ort.InferenceSession) {
    this.#graph = graph;
    this.#session = session;
  }

  /**
   * Compiles a graph.
   *
   * @throws ClipsmithError if the provider asked for is not there or does not work.
   */
  static async compile(graph: Graph, options: RuntimeOptions = {}): Promise<Program> {
    const { provider = "cpu" } = options;
    const settings = sessionOptions(options);
    const model = emit(graph);
    try {
      return new Program(graph, await ort.InferenceSession.create(model, settings));
    } catch (cause) {
      if (provider === "cpu") throw cause;
      // A provider is listed even where its libraries are not installed.
      const hint =
        provider === "cuda"
          ? "CUDA's libraries are installed by hand: see “GPU” in the README."
          : "Are its libraries and drivers installed?";
      throw new ClipsmithError(
        `The provider "${provider}" does not work on this machine: ${messageOf(cause).trim()}. ${hint}`,
        { cause },
      );
    }
  }

  /**
   * Runs the graph. Inputs are read in place. Outputs named in `into` are written into the arrays given
   * there and nowhere else; the others get arrays of their own.
   *
   * Runs on the calling thread: JavaScript waits for it.
   *
   * @throws Error if an input is missing, of the wrong type or of the wrong size, if `into` names what is
   *   no output, or if the program has been released.
   */
  async run(feeds: Feeds, into: Feeds = {}): Promise<Record<string, Data>> {
    if (this.#released) throw new Error("run: the program has been released");
    const { outputs } = this.#graph;
    const stray = Object.keys(into).find((name) => !outputs.has(name));
    if (stray !== undefined) {
      throw new Error(`run: there is no output "${stray}", only ${[...outputs.keys()].join(", ")}`);
    }
    const sizes = new Map<string, number>();
    const inputs: Record<string, ort.Tensor> = {};
    for (const [name, { dtype, shape }] of this.#graph.inputs) {
      const data = feeds[name];
      if (data === undefined) throw new Error(`run: input "${name}" is missing`);
      const dims = resolve(shape, data.length, sizes, `input "${name}"`);
      inputs[name] = tensorOf(dtype, data, dims, `input "${name}"`);
    }
    const fetches: Record<string, ort.Tensor | null> = {};
    for (const [name, { dtype, shape }] of outputs) {
      const data = into[name];
      fetches[name] = null;
      if (data === undefined) continue;
      const dims = resolve(shape, data.length, sizes, `output "${name}"`);
      fetches[name] = tensorOf(dtype, data, dims, `output "${name}"`);
    }
    let results: ort.InferenceSession.OnnxValueMapType;
    try {
      results = await this.#session.run(inputs, fetches);
    } catch (error) {
      throw new Error(`ONNX Runtime could not run the graph: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const values = Object.entries(results).map(([name, tensor]) => [name, tensor.data]);
    return Object.fromEntries(values) as Record<string, Data>;
  }

  /** Frees the session's memory; further calls do nothing. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    await this.#session.release();
  }
}

/** Sizes of all axes, where those that have only a name follow from the number of elements. */
function resolve(
  shape: readonly (number | string)[],
  count: number,
  sizes: Map<string, number>,
  where: string,
): number[] {
  const sizeOf = (dim: number | string): number | undefined => {
    if (typeof dim === "number") return dim;
    const factors = dim.split("*").map((x) => (/^\d+$/.test(x) ? Number(x) : sizes.get(x)));
    return factors.reduce((a, b) => (a === undefined || b === undefined ? undefined : a * b), 1);
  };
  // Sizes that this tensor does not have to tell are part of the message if it does not fit.
  const given = shape.flatMap((dim) =>
    typeof dim === "string" && sizeOf(dim) !== undefined ? [`${dim} is ${sizeOf(dim)}`] : [],
  );
  const open = shape.find((dim) => sizeOf(dim) === undefined);
  if (typeof open === "string") {
    const known = shape.reduce<number>((n, dim) => n * (sizeOf(dim) ?? 1), 1);
    sizes.set(open, known === 0 ? 0 : count / known);
  }
  const dims = shape.map((dim) => sizeOf(dim)!);
  if (dims.some((dim) => !Number.isInteger(dim)) || dims.reduce((a, b) => a * b, 1) !== count) {
    const sizesGiven = given.length > 0 ? `, where ${given.join(" and ")}` : "";
    throw new Error(
      `run: ${where} must be ${formatShape(shape)}${sizesGiven}, has ${count} elements`,
    );
  }
  return dims;
}

function tensorOf(dtype: DType, data: Data, dims: number[], where: string): ort.Tensor {
  if (!(data instanceof dtypes[dtype].array)) {
    throw new Error(`run: ${where} must be ${dtype}, is a ${data.constructor.name}`);
  }
  return new ort.Tensor(dtype, data as ort.Tensor["data"] as Float32Array, dims) as ort.Tensor;
}
