import { ClipsmithError } from "../util/errors.js";
import type { CheckpointTensor } from "./checkpoint.js";
import { type OptimizerKernel, optimizerKernel } from "./kernels/optimizer.js";

export interface OptimizerOptions {
  /** The rule of an update, see {@link Optimizer}. Default `"adamw"`. */
  readonly kind?: OptimizerKind;
  /** Decay rates: of AdamW's two moments, or of Lion's direction and its moment. Default [0.9, 0.98]. */
  readonly betas?: readonly [number, number];
  /** AdamW: added to the root of the second moment. Default 1e-6. */
  readonly epsilon?: number;
  /** Default 0.2. */
  readonly weightDecay?: number;
  /** Which parameters are not decayed. Default: {@link isGainOrBias}. */
  readonly noDecay?: (name: string, shape: readonly number[]) => boolean;
  /** What a step's learning rate is multiplied by, decay included. Default 1 for all. */
  readonly learningRateFactor?: (name: string) => number;
  /** Keeps running means of the parameters that decay by this rate at most. Default: none are kept. */
  readonly ema?: number;
  /** Bytes at which another WebAssembly memory begins. Default and upper bound: just under 4 GiB. */
  readonly memoryBytes?: number;
}

export type OptimizerKind = "adamw" | "lion";

export interface StepOptions {
  readonly learningRate: number;
  /** Scales the gradients down to this global L2 norm where they exceed it. Default: no clipping. */
  readonly maxGradientNorm?: number;
  /** Parameters left exactly as they are, with their moments and step count. */
  readonly skip?: ReadonlySet<string>;
}

/** The buffers of a parameter, as they lie in memory, `stride` bytes apart. */
type Part = "parameter" | "gradient" | "m" | "v" | "mean";

interface Slot {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  readonly decay: boolean;
  readonly factor: number;
  readonly kernel: OptimizerKernel;
  /** Byte offset of a buffer, and its numbers. */
  readonly at: (part: Part) => number;
  readonly view: (part: Part) => Float32Array;
  steps: number;
}

const moments: Readonly<Record<OptimizerKind, readonly ("m" | "v")[]>> = {
  adamw: ["m", "v"],
  lion: ["m"],
};

const PAGE = 65536;
/** One page short of 4 GiB, so that the end of a buffer still is a 32-bit number. */
const LARGEST_MEMORY = 2 ** 32 - PAGE;
/** A cache line: also more than the kernel's and ONNX Runtime's vectors ask for. */
const ALIGNMENT = 64;
/** How many averages the running means have seen; a name that no parameter has. */
const EMA_UPDATES = "ema updates";

const roundUp = (bytes: number, unit: number) => Math.ceil(bytes / unit) * unit;

/**
 * The parameters that training commonly does not decay, as open_clip's does not: gains, biases, the
 * temperature and CLS tokens, which have fewer than two dimensions, and biases of other shapes by name.
 * Embeddings are decayed.
 */
export function isGainOrBias(name: string, shape: readonly number[]): boolean {
  return shape.length < 2 || /(^|[._])bias$/.test(name);
}

/**
 * Updates parameters from their gradients, in place. Two rules:
 *
 * - AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) with PyTorch's
 *   arithmetic: scalars are computed in float64 and rounded once, everything else is float32;
 * - Lion (Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023): the sign of a
 *   momentum, with one moment. Its authors take a learning rate 3 to 10 times lower than AdamW's, a
 *   decay as many times higher, and betas 0.9 and 0.99.
 *
 * Parameters, gradients, moments and running means live in WebAssembly memory of fixed size: 16 bytes for
 * each number trained by AdamW, 12 by Lion, 4 more with means. `parameters` and `gradients` are views of
 * it that stay valid, to be read and filled in place by whatever computes the gradients.
 *
 * @throws ClipsmithError when the memory is not to be had, or a single parameter needs more than 4 GiB
 */
export class Optimizer {
  readonly kind: OptimizerKind;
  readonly parameters: ReadonlyMap<string, Float32Array>;
  /** Zero at first; filled by the caller before each step, and never changed here. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** Running means of the parameters, equal to them at first; undefined without `ema`. */
  readonly means: ReadonlyMap<string, Float32Array> | undefined;
  readonly #slots: readonly Slot[];
  readonly #betas: readonly [number, number];
  readonly #epsilon: number;
  readonly #weightDecay: number;
  readonly #ema: number | undefined;
  #emaUpdates = 0;

  /** Copies `values` (row-major, of `shape`) of each parameter. */
  constructor(
    parameters: ReadonlyMap<string, { shape: readonly number[]; values: Float32Array }>,
    {
      kind = "adamw",
      betas = [0.9, 0.98],
      epsilon = 1e-6,
      weightDecay = 0.2,
      noDecay = isGainOrBias,
      learningRateFactor = () => 1,
      ema,
      memoryBytes = LARGEST_MEMORY,
    }: OptimizerOptions = {},
  ) {
    this.kind = kind;
    this.#betas = betas;
    this.#epsilon = epsilon;
    this.#weightDecay = weightDecay;
    this.#ema = ema;
    const parts: readonly Part[] = [
      "parameter",
      "gradient",
      ...moments[kind],
      ...(ema === undefined ? [] : (["mean"] as const)),
    ];
    const sizes = new Map<string, number>();
    for (const [name, { values }] of parameters) sizes.set(name, values.length);
    const slots: Slot[] = [];
    for (const names of pack(sizes, parts.length, Math.min(memoryBytes, LARGEST_MEMORY))) {
      const bytes = names.reduce((sum, name) => sum + parts.length * strideOf(sizes.get(name)!), 0);
      const memory = allocate(bytes, sizes, parts.length);
      const kernel = optimizerKernel(memory);
      let start = 0;
      for (const name of names) {
        const { shape, values: initial } = parameters.get(name)!;
        const count = initial.length;
        const stride = strideOf(count);
        const pointer = start;
        const at = (part: Part) => pointer + parts.indexOf(part) * stride;
        const view = (part: Part) => new Float32Array(memory.buffer, at(part), count);
        view("parameter").set(initial);
        if (ema !== undefined) view("mean").set(initial);
        const decay = !noDecay(name, shape);
        const factor = learningRateFactor(name);
        slots.push({ name, shape, count, decay, factor, kernel, at, view, steps: 0 });
        start += parts.length * stride;
      }
    }
    const views = (part: Part) => new Map(slots.map(({ name, view }) => [name, view(part)]));
    this.parameters = views("parameter");
    this.gradients = views("gradient");
    this.means = ema === undefined ? undefined : views("mean");
    this.#slots = slots;
  }

  /**
   * Updates every parameter that is not skipped, from `gradients`. The learning rate and everything
   * else that scales an update counts each parameter's own steps, as PyTorch does.
   *
   * @returns the global L2 norm of the gradients before clipping. Where it is not finite, nothing was
   *   changed: it is the caller's to report.
   */
  step({ learningRate, maxGradientNorm = Infinity, skip }: StepOptions): { gradientNorm: number } {
    const slots = this.#slots.filter(({ name }) => !skip?.has(name));
    let squares = 0;
    for (const { kernel, at, count } of slots)
      squares += kernel.sumOfSquares(at("gradient"), count);
    const gradientNorm = Math.sqrt(squares);
    if (!Number.isFinite(gradientNorm)) return { gradientNorm };
    // The 1e-6 is that of torch.nn.utils.clip_grad_norm_: it keeps a zero norm from dividing.
    const scale = Math.min(1, maxGradientNorm / (gradientNorm + 1e-6));
    for (const slot of slots) {
      slot.steps++;
      const rate = learningRate * slot.factor;
      const keep = slot.decay ? 1 - rate * this.#weightDecay : 1;
      this.#update(slot, scale, keep, rate);
    }
    return { gradientNorm };
  }

  #update({ kernel, at, count, steps }: Slot, scale: number, keep: number, rate: number): void {
    const [beta1, beta2] = this.#betas;
    const [parameter, gradient, m] = [at("parameter"), at("gradient"), at("m")];
    if (this.kind === "lion") {
      kernel.lion(parameter, gradient, m, count, scale, keep, 1 - beta1, 1 - beta2, rate);
      return;
    }
    kernel.adamw(
      parameter,
      gradient,
      m,
      at("v"),
      count,
      scale,
      keep,
      1 - beta1,
      beta2,
      1 - beta2,
      Math.sqrt(1 - beta2 ** steps),
      this.#epsilon,
      rate / (1 - beta1 ** steps),
    );
  }

  /**
   * Takes the parameters into the running means, if any are kept: to be called after each step. The n-th
   * call, from 0, keeps min(ema, (1 + n) / (10 + n)) of the means, as TensorFlow's moving averages do, so
   * that a short training's means don't consist of its start.
   */
  average(): void {
    if (this.#ema === undefined) return;
    const n = this.#emaUpdates++;
    const take = 1 - Math.min(this.#ema, (1 + n) / (10 + n));
    for (const { kernel, at, count } of this.#slots) {
      kernel.average(at("mean"), at("parameter"), count, take);
    }
  }

  /**
   * What a resumed run needs besides the parameters: `KIND.m.NAME` (AdamW: and `KIND.v.NAME`) of the
   * shape of each parameter, `KIND.step.NAME`, and with running means `ema.NAME` and their number. The
   * float tensors are views that the next step changes.
   */
  state(): Map<string, CheckpointTensor> {
    const tensors = new Map<string, CheckpointTensor>();
    for (const { name, shape, view, steps } of this.#slots) {
      for (const part of moments[this.kind]) {
        tensors.set(`${this.kind}.${part}.${name}`, { shape, data: view(part) });
      }
      tensors.set(`${this.kind}.step.${name}`, { shape: [], data: Int32Array.of(steps) });
      if (this.means) tensors.set(`ema.${name}`, { shape, data: view("mean") });
    }
    if (this.means) tensors.set(EMA_UPDATES, { shape: [], data: Int32Array.of(this.#emaUpdates) });
    return tensors;
  }

  /**
   * Takes up a {@link state}. Tensors of other names are left to others, so a whole checkpoint may be
   * given.
   *
   * @throws ClipsmithError when a tensor is missing or of another shape; nothing is changed then
   */
  restore(state: ReadonlyMap<string, CheckpointTensor>): void {
    const expected = this.state();
    for (const [name, { shape, data }] of expected) {
      const found = state.get(name);
      const wanted = `${data.constructor.name} [${shape.join(", ")}]`;
      const got = found && `${found.data.constructor.name} [${found.shape.join(", ")}]`;
      if (got !== wanted) {
        throw new ClipsmithError(
          `The optimizer's state does not fit the model: ${name} should be ${wanted} but is ${got ?? "missing"}. Resume with the model and options the run was started with.`,
        );
      }
    }
    for (const [name, { data }] of expected) {
      if (data instanceof Float32Array) data.set(state.get(name)!.data);
    }
    for (const slot of this.#slots) {
      slot.steps = state.get(`${this.kind}.step.${slot.name}`)!.data[0]!;
    }
    this.#emaUpdates = state.get(EMA_UPDATES)?.data[0] ?? 0;
  }
}

function strideOf(count: number): number {
  return roundUp(count * 4, ALIGNMENT);
}

/** Splits the parameters, in their order, into groups whose buffers each fit in one memory. */
function pack(sizes: ReadonlyMap<string, number>, buffers: number, limit: number): string[][] {
  const groups: string[][] = [];
  let used = Infinity;
  for (const [name, count] of sizes) {
    const bytes = buffers * strideOf(count);
    if (bytes > limit) {
      throw new ClipsmithError(
        `The parameter ${name} has ${count} numbers; training keeps ${4 * buffers} bytes for each in one memory, which holds ${limit} bytes. Make it smaller.`,
      );
    }
    if (used + bytes > limit) {
      groups.push([]);
      used = 0;
    }
    groups.at(-1)!.push(name);
    used += bytes;
  }
  return groups;
}

/** A memory that never grows: growing would detach the views handed out. */
function allocate(
  bytes: number,
  sizes: ReadonlyMap<string, number>,
  buffers: number,
): WebAssembly.Memory {
  const pages = Math.ceil(bytes / PAGE);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch (cause) {
    const total = [...sizes.values()].reduce((sum, count) => sum + buffers * strideOf(count), 0);
    throw new ClipsmithError(
      `Not enough memory to train: parameters, gradients and moments take ${(total / 2 ** 30).toFixed(1)} GiB together. Train a smaller model, or on a machine with more memory.`,
      { cause },
    );
  }
}
