import { grad, input, type Tensor } from "../graph/index.js";
import { random } from "../util/random.js";

/** How a parameter starts. */
export type Initializer =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "values"; readonly values: Float32Array }
  | { readonly kind: "normal"; readonly deviation: number }
  | { readonly kind: "uniform"; readonly bound: number }
  /** Equal to another parameter at the start, and independent of it from then on. */
  | { readonly kind: "copy"; readonly of: string };

/** One learnt tensor, or a buffer that is saved with them but not learnt. */
export interface Parameter {
  /** The graph input that stands for it. */
  readonly tensor: Tensor;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  readonly trainable: boolean;
  /** How files store it; in memory every parameter is float32. */
  readonly fileType: "F32" | "I64";
}

/**
 * Where modules declare their parameters. A scope has a name prefix; all scopes grown from one root
 * share one list. The names are those of x-clip's `state_dict`, so that weights move both ways.
 */
export class Scope {
  readonly #prefix: string;
  readonly #parameters: Map<string, Parameter>;
  readonly #aliases: Map<string, string>;

  constructor(
    prefix = "",
    parameters: Map<string, Parameter> = new Map(),
    aliases: Map<string, string> = new Map(),
  ) {
    this.#prefix = prefix;
    this.#parameters = parameters;
    this.#aliases = aliases;
  }

  /** All parameters declared so far by any scope of this root, by full name, in order. */
  get parameters(): ReadonlyMap<string, Parameter> {
    return this.#parameters;
  }

  /**
   * Other names under which x-clip's files repeat the parameters of modules that two others share, each
   * with the parameter's own name.
   */
  get aliases(): ReadonlyMap<string, string> {
    return this.#aliases;
  }

  /** The scope of a part: its parameters are named `name.` and then their own name. */
  child(name: string): Scope {
    return new Scope(`${this.#prefix}${name}.`, this.#parameters, this.#aliases);
  }

  /** Says that files repeat all that `shared` has declared so far, under the name `name.` here. */
  alias(name: string, shared: Scope): void {
    for (const path of [...this.#parameters.keys()]) {
      if (!path.startsWith(shared.#prefix)) continue;
      this.#aliases.set(`${this.#prefix}${name}.${path.slice(shared.#prefix.length)}`, path);
    }
  }

  /** Declares a parameter and gives the tensor that stands for it. Throws if the name is taken. */
  parameter(name: string, shape: readonly number[], initializer: Initializer): Tensor {
    return this.#declare(name, { shape, initializer, trainable: true, fileType: "F32" });
  }

  /**
   * Declares values that are saved with the parameters but never learnt; {@link BufferUpdates} changes
   * them.
   */
  buffer(
    name: string,
    shape: readonly number[],
    values: Float32Array,
    fileType: "F32" | "I64" = "F32",
  ): Tensor {
    const initializer = { kind: "values", values } as const;
    return this.#declare(name, { shape, initializer, trainable: false, fileType });
  }

  /** A linear layer's weights [out, in], as torch initialises them. */
  linear(name: string, outWidth: number, inWidth: number): Tensor {
    return this.parameter(`${name}.weight`, [outWidth, inWidth], fanIn(inWidth));
  }

  /** A table of vectors [count, width], as torch initialises it. */
  embedding(name: string, count: number, width: number): Tensor {
    return this.parameter(`${name}.weight`, [count, width], { kind: "normal", deviation: 1 });
  }

  #declare(name: string, parameter: Omit<Parameter, "tensor">): Tensor {
    const path = this.#prefix + name;
    if (this.#parameters.has(path)) throw new Error(`two parameters are named "${path}"`);
    const tensor = input(path, parameter.shape);
    this.#parameters.set(path, { tensor, ...parameter });
    return tensor;
  }
}

/** Torch's default for the weights and bias of a layer that sums `inWidth` values. */
export function fanIn(inWidth: number): Initializer {
  return { kind: "uniform", bound: 1 / Math.sqrt(inWidth) };
}

/** Draws starting values for all parameters. Each has a random stream of its own, keyed by its name. */
export function initialize(
  parameters: ReadonlyMap<string, Parameter>,
  seed: number | string,
): Map<string, Float32Array> {
  const values = new Map<string, Float32Array>();
  for (const [name, { shape, initializer }] of parameters) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    const stream = random(seed, "initialize", name);
    switch (initializer.kind) {
      case "constant":
        data.fill(initializer.value);
        break;
      case "values":
        data.set(initializer.values);
        break;
      case "normal":
        for (let i = 0; i < data.length; i++) data[i] = initializer.deviation * stream.normal();
        break;
      case "uniform":
        for (let i = 0; i < data.length; i++) {
          data[i] = stream.between(-initializer.bound, initializer.bound);
        }
        break;
      case "copy":
        data.set(values.get(initializer.of)!);
        break;
    }
    values.set(name, data);
  }
  return values;
}

/**
 * Gradients of a scalar loss by parameter name, leaving out buffers and what the loss does not depend
 * on.
 */
export function parameterGradients(
  loss: Tensor,
  parameters: ReadonlyMap<string, Parameter>,
): Map<string, Tensor> {
  const trainable = [...parameters].filter(([, parameter]) => parameter.trainable);
  const gradients = grad(
    loss,
    trainable.map(([, { tensor }]) => tensor),
  );
  return new Map(
    trainable.flatMap(([name], i) => (gradients[i] ? [[name, gradients[i]] as const] : [])),
  );
}
