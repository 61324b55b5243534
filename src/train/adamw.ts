import { ClipsmithError } from "../util/errors.js";
import type { CheckpointTensor } from "./checkpoint.js";
import { type AdamWKernel, adamwKernel } from "./kernels/adamw.js";

export interface AdamWOptions {
  /** Decay rates of the two moments. Default [0.9, 0.98], as CLIP was trained with. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-6. */
  readonly epsilon?: number;
  /** Default 0.2. */
  readonly weightDecay?: number;
  /** Which parameters are not decayed. Default: those with fewer than two dimensions. */
  readonly noDecay?: (name: string, shape: readonly number[]) => boolean;
  /** Bytes at which another WebAssembly memory begins. Default and upper bound: just under 4 GiB. */
  readonly memoryBytes?: number;
}

export interface StepOptions {
  readonly learningRate: number;
  /** Scales the gradients down to this global L2 norm where they exceed it. Default: no clipping. */
  readonly maxGradientNorm?: number;
  /** Parameters left exactly as they are, with their moments and step count. */
  readonly skip?: ReadonlySet<string>;
}

interface Slot {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  readonly decay: boolean;
  readonly kernel: AdamWKernel;
  /** Byte offset of the parameter; gradient, first and second moment follow, `stride` bytes apart. */
  readonly pointer: number;
  readonly stride: number;
  readonly m: Float32Array;
  readonly v: Float32Array;
  steps: number;
}

const PAGE = 65536;
/** One page short of 4 GiB, so that the end of a buffer still is a 32-bit number. */
const LARGEST_MEMORY = 2 ** 32 - PAGE;
/** A cache line: also more than the kernel's and ONNX Runtime's vectors ask for. */
const ALIGNMENT = 64;

const roundUp = (bytes: number, unit: number) => Math.ceil(bytes / unit) * unit;

/**
 * AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) with PyTorch's
 * arithmetic: scalars are computed in float64 and rounded once, everything else is float32.
 *
 * Parameters, gradients and moments live in WebAssembly memory of fixed size: 16 bytes for each number
 * trained. `parameters` and `gradients` are views of it that stay valid, to be read and filled in place
 * by whatever computes the gradients.
 *
 * @throws ClipsmithError when the memory is not to be had, or a single parameter needs more than 4 GiB
 */
export class AdamW {
  readonly parameters: ReadonlyMap<string, Float32Array>;
  /** Zero at first; filled by the caller before each step, and never changed here. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  readonly #slots: readonly Slot[];
  readonly #betas: readonly [number, number];
  readonly #epsilon: number;
  readonly #weightDecay: number;

  /** Copies `values` (row-major, of `shape`) of each parameter. */
  constructor(
    parameters: ReadonlyMap<string, { shape: readonly number[]; values: Float32Array }>,
    {
      betas = [0.9, 0.98],
      epsilon = 1e-6,
      weightDecay = 0.2,
      noDecay = (_name, shape) => shape.length < 2,
      memoryBytes = LARGEST_MEMORY,
    }: AdamWOptions = {},
  ) {
    this.#betas = betas;
    this.#epsilon = epsilon;
    this.#weightDecay = weightDecay;
    const sizes = new Map<string, number>();
    for (const [name, { values }] of parameters) sizes.set(name, values.length);
    const values = new Map<string, Float32Array>();
    const gradients = new Map<string, Float32Array>();
    const slots: Slot[] = [];
    for (const names of pack(sizes, Math.min(memoryBytes, LARGEST_MEMORY))) {
      const bytes = names.reduce((sum, name) => sum + 4 * strideOf(sizes.get(name)!), 0);
      const memory = allocate(bytes, sizes);
      const kernel = adamwKernel(memory);
      let pointer = 0;
      for (const name of names) {
        const { shape, values: initial } = parameters.get(name)!;
        const count = initial.length;
        const stride = strideOf(count);
        const view = (index: number) =>
          new Float32Array(memory.buffer, pointer + index * stride, count);
        values.set(name, view(0));
        view(0).set(initial);
        gradients.set(name, view(1));
        const [m, v] = [view(2), view(3)];
        const decay = !noDecay(name, shape);
        slots.push({ name, shape, count, decay, kernel, pointer, stride, m, v, steps: 0 });
        pointer += 4 * stride;
      }
    }
    this.parameters = values;
    this.gradients = gradients;
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
    for (const { kernel, pointer, stride, count } of slots) {
      squares += kernel.sumOfSquares(pointer + stride, count);
    }
    const gradientNorm = Math.sqrt(squares);
    if (!Number.isFinite(gradientNorm)) return { gradientNorm };
    // The 1e-6 is that of torch.nn.utils.clip_grad_norm_: it keeps a zero norm from dividing.
    const scale = Math.min(1, maxGradientNorm / (gradientNorm + 1e-6));
    const [beta1, beta2] = this.#betas;
    for (const slot of slots) {
      slot.steps++;
      slot.kernel.adamw(
        slot.pointer,
        slot.pointer + slot.stride,
        slot.pointer + 2 * slot.stride,
        slot.pointer + 3 * slot.stride,
        slot.count,
        scale,
        slot.decay ? 1 - learningRate * this.#weightDecay : 1,
        1 - beta1,
        beta2,
        1 - beta2,
        Math.sqrt(1 - beta2 ** slot.steps),
        this.#epsilon,
        learningRate / (1 - beta1 ** slot.steps),
      );
    }
    return { gradientNorm };
  }

  /**
   * What a resumed run needs besides the parameters: `adamw.m.NAME` and `adamw.v.NAME` of the shape of
   * each parameter, and `adamw.step.NAME`. The moments are views that the next step changes.
   */
  state(): Map<string, CheckpointTensor> {
    const tensors = new Map<string, CheckpointTensor>();
    for (const { name, shape, m, v, steps } of this.#slots) {
      tensors.set(`adamw.m.${name}`, { shape, data: m });
      tensors.set(`adamw.v.${name}`, { shape, data: v });
      tensors.set(`adamw.step.${name}`, { shape: [], data: Int32Array.of(steps) });
    }
    return tensors;
  }

  /**
   * Takes up a {@link state}. Tensors whose names don't start with `adamw.` are left to others, so a
   * whole checkpoint may be given.
   *
   * @throws ClipsmithError when a tensor is missing, left over or of another shape; nothing is changed then
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
    for (const name of state.keys()) {
      if (name.startsWith("adamw.") && !expected.has(name)) {
        throw new ClipsmithError(
          `The optimizer's state does not fit the model: ${name} belongs to no parameter of it. Resume with the model and options the run was started with.`,
        );
      }
    }
    for (const slot of this.#slots) {
      slot.m.set(state.get(`adamw.m.${slot.name}`)!.data);
      slot.v.set(state.get(`adamw.v.${slot.name}`)!.data);
      slot.steps = state.get(`adamw.step.${slot.name}`)!.data[0]!;
    }
  }
}

function strideOf(count: number): number {
  return roundUp(count * 4, ALIGNMENT);
}

/** Splits the parameters, in their order, into groups whose four buffers each fit in one memory. */
function pack(sizes: ReadonlyMap<string, number>, limit: number): string[][] {
  const groups: string[][] = [];
  let used = Infinity;
  for (const [name, count] of sizes) {
    const bytes = 4 * strideOf(count);
    if (bytes > limit) {
      throw new ClipsmithError(
        `The parameter ${name} has ${count} numbers; training keeps 16 bytes for each in one memory, which holds ${limit} bytes. Make it smaller.`,
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
function allocate(bytes: number, sizes: ReadonlyMap<string, number>): WebAssembly.Memory {
  const pages = Math.ceil(bytes / PAGE);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch (cause) {
    const total = [...sizes.values()].reduce((sum, count) => sum + 4 * strideOf(count), 0);
    throw new ClipsmithError(
      `Not enough memory to train: parameters, gradients and moments take ${(total / 2 ** 30).toFixed(1)} GiB together. Train a smaller model, or on a machine with more memory.`,
      { cause },
    );
  }
}
