import { isFloat } from "../dtype.js";
import { formatShape, type Shape } from "../shape.js";
import { apply, type Operator, type Tensor } from "../tensor.js";
import { indexOf, positionOf, value } from "../value.js";
import { slice, transpose } from "./movement.js";
import { expect, expectType, sameDType, staticShape } from "./operator.js";

/** The geometry of a two-dimensional convolution, each as [vertical, horizontal]. */
type Window = {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Zeros added on top, left, bottom, right. */
  readonly pads: readonly number[];
};

/** A transposed convolution also says how many rows and columns the strides left unseen. */
type TransposedWindow = Window & {
  readonly output_padding: readonly number[];
};

const windowAttributes = { strides: "ints", dilations: "ints", pads: "ints" } as const;

/** Span of a dilated kernel along spatial axis `i` (0 vertical, 1 horizontal). */
function span(kernel: Shape, { dilations }: Window, i: number): number {
  return dilations[i]! * ((kernel[i + 2] as number) - 1) + 1;
}

function padding({ pads }: Window, i: number): number {
  return pads[i]! + pads[i + 2]!;
}

/** Correlation of [B, C, H, W] with kernels [O, C, h, w]. */
export const Conv: Operator<Window> = {
  name: "Conv",
  attributes: windowAttributes,
  infer([x, w], window) {
    const kernel = w!.shape;
    const [batch, channels, ...size] = x!.shape;
    expect(
      x!.shape.length === 4,
      "conv",
      `pictures must be [B, C, H, W], are ${formatShape(x!.shape)}`,
    );
    expect(
      kernel.length === 4 && kernel[1] === channels,
      "conv",
      `kernels must be [O, ${channels}, h, w], are ${formatShape(kernel)}`,
    );
    staticShape(kernel.slice(2), "conv's kernel");
    const output = staticShape(size, "conv").map((length, i) => {
      const room = length + padding(window, i) - span(kernel, window, i);
      expect(room >= 0, "conv", `kernels ${formatShape(kernel)} exceed ${formatShape(x!.shape)}`);
      return Math.floor(room / window.strides[i]!) + 1;
    });
    const dtype = sameDType([x!, w!], "conv");
    expectType(isFloat, dtype, "conv");
    return [{ dtype, shape: [batch!, kernel[0]!, ...output] }];
  },
  gradients: [
    (g, { inputs: [x, w], attributes }) => {
      const output_padding = [0, 1].map((i) => {
        const covered = ((g.shape[i + 2] as number) - 1) * attributes.strides[i]!;
        const length = x!.shape[i + 2] as number;
        return length + padding(attributes, i) - span(w!.shape, attributes, i) - covered;
      });
      return apply(ConvTranspose, [g, w!], { ...attributes, output_padding });
    },
    (g, { inputs: [x, w], attributes }) => kernelGradient(x!, g, w!, attributes),
  ],
  reference([x, w], window) {
    const shape = Conv.infer([x!, w!], window)[0]!.shape as readonly number[];
    const result = value(x!.dtype, shape);
    forEachTap(x!.shape, w!.shape, shape, window, (input, kernel, output) => {
      result.data[output]! += x!.data[input]! * w!.data[kernel]!;
    });
    return [result];
  },
};

/** The opposite of {@link Conv}: spreads [B, C, H, W] by kernels [C, O, h, w]. */
export const ConvTranspose: Operator<TransposedWindow> = {
  name: "ConvTranspose",
  attributes: { ...windowAttributes, output_padding: "ints" },
  infer([x, w], window) {
    const kernel = w!.shape;
    const [batch, channels, ...size] = x!.shape;
    expect(
      x!.shape.length === 4,
      "convTranspose",
      `pictures must be [B, C, H, W], are ${formatShape(x!.shape)}`,
    );
    expect(
      kernel.length === 4 && kernel[0] === channels,
      "convTranspose",
      `kernels must be [${channels}, O, h, w], are ${formatShape(kernel)}`,
    );
    staticShape(kernel.slice(2), "convTranspose's kernel");
    const output = staticShape(size, "convTranspose").map(
      (length, i) =>
        (length - 1) * window.strides[i]! -
        padding(window, i) +
        span(kernel, window, i) +
        window.output_padding[i]!,
    );
    return [
      { dtype: sameDType([x!, w!], "convTranspose"), shape: [batch!, kernel[1]!, ...output] },
    ];
  },
  gradients: [
    (g, { inputs: [, w], attributes: { strides, dilations, pads } }) =>
      apply(Conv, [g, w!], { strides, dilations, pads }),
    (g, { inputs: [x, w], attributes }) => kernelGradient(g, x!, w!, attributes),
  ],
  reference([x, w], window) {
    const shape = ConvTranspose.infer([x!, w!], window)[0]!.shape as readonly number[];
    const result = value(x!.dtype, shape);
    forEachTap(shape, w!.shape, x!.shape, window, (output, kernel, input) => {
      result.data[output]! += x!.data[input]! * w!.data[kernel]!;
    });
    return [result];
  },
};

/**
 * The kernels' gradient is itself a correlation, of the large pictures with the small ones, where
 * batch and channels change places and strides and dilations too.
 */
function kernelGradient(large: Tensor, small: Tensor, kernels: Tensor, window: Window): Tensor {
  const exchanged = apply(Conv, [transpose(large, [1, 0, 2, 3]), transpose(small, [1, 0, 2, 3])], {
    strides: window.dilations,
    dilations: window.strides,
    pads: window.pads,
  });
  // Rows and columns that no stride reached give positions past the kernel.
  const height = slice(transpose(exchanged, [1, 0, 2, 3]), 2, 0, kernels.shape[2] as number);
  return slice(height, 3, 0, kernels.shape[3] as number);
}

/** Calls `f` with flat indices of every (large picture, kernel, small picture) that meet. */
function forEachTap(
  large: readonly number[],
  kernel: readonly number[],
  small: readonly number[],
  { strides, dilations, pads }: Window,
  f: (large: number, kernel: number, small: number) => void,
): void {
  const taps = [large[1]!, kernel[2]!, kernel[3]!];
  const tapCount = taps[0]! * taps[1]! * taps[2]!;
  const smallCount = small.reduce((a, b) => a * b, 1);
  for (let i = 0; i < smallCount; i++) {
    const [b, o, row, column] = positionOf(i, small) as [number, number, number, number];
    for (let t = 0; t < tapCount; t++) {
      const [c, down, right] = positionOf(t, taps) as [number, number, number];
      const y = row * strides[0]! + down * dilations[0]! - pads[0]!;
      const x = column * strides[1]! + right * dilations[1]! - pads[1]!;
      if (y < 0 || x < 0 || y >= large[2]! || x >= large[3]!) continue;
      f(indexOf([b, c, y, x], large), indexOf([o, c, down, right], kernel), i);
    }
  }
}

/** Options of {@link conv}. */
export type ConvOptions = {
  /** Step between windows; default 1. */
  readonly stride?: number;
  /** Zeros around the pictures; default 0. */
  readonly padding?: number;
};

/** Correlation of pictures [B, C, H, W] with kernels [O, C, h, w], as torch's conv2d. */
export function conv(x: Tensor, kernels: Tensor, options: ConvOptions = {}): Tensor {
  const { stride = 1, padding = 0 } = options;
  return apply(Conv, [x, kernels], {
    strides: [stride, stride],
    dilations: [1, 1],
    pads: [padding, padding, padding, padding],
  });
}
