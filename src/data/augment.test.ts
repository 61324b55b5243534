import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../util/random.js";
import {
  type AugmentOptions,
  augmentInto,
  normaliseInto,
  type PixelFormat,
  sslAugmentation,
} from "./augment.js";

const FORMAT: PixelFormat = {
  size: 9,
  channels: 3,
  mean: [0.48, 0.46, 0.41],
  std: [0.27, 0.26, 0.28],
};
/** Normalisation that leaves 0 to 1. */
const PLAIN: PixelFormat = { ...FORMAT, mean: [0, 0, 0], std: [1, 1, 1] };

function noise({ size, channels }: PixelFormat): Uint8Array {
  const stream = random("noise");
  return Uint8Array.from({ length: size * size * channels }, () => stream.integer(256));
}

function flat(rgb: readonly number[], size = 9): Uint8Array {
  return Uint8Array.from({ length: size * size * 3 }, (_, i) => rgb[i % 3]!);
}

function augment(
  pixels: Uint8Array,
  options: AugmentOptions,
  { format = PLAIN, key = 0 }: { format?: PixelFormat; key?: number } = {},
): Float32Array {
  const out = new Float32Array(pixels.length).fill(Number.NaN);
  augmentInto(out, pixels, format, options, random("augment", key));
  return out;
}

function normalise(pixels: Uint8Array, format = PLAIN): Float32Array {
  const out = new Float32Array(pixels.length);
  normaliseInto(out, pixels, format);
  return out;
}

function near(actual: number, expected: number, tolerance = 1e-5) {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not near ${expected}`);
}

test("normalisation is (v / 255 - mean) / std, channels first", () => {
  const pixels = noise(FORMAT);
  const out = normalise(pixels, FORMAT);
  for (let i = 0; i < 81; i++) {
    for (let c = 0; c < 3; c++) {
      near(out[c * 81 + i]!, (pixels[i * 3 + c]! / 255 - FORMAT.mean[c]!) / FORMAT.std[c]!);
    }
  }
});

test("no options, and options without strength, are plain normalisation exactly", () => {
  const none: AugmentOptions = {
    crop: [1, 1],
    rotate: 0,
    translate: 0,
    scale: [1, 1],
    flip: 0,
    colour: { brightness: 0, contrast: 0, saturation: 0, hue: 0 },
    greyscale: 0,
  };
  const grey: PixelFormat = { size: 8, channels: 1, mean: [0.5], std: [0.3] };
  for (const format of [FORMAT, grey]) {
    const pixels = noise(format);
    assert.deepEqual(augment(pixels, {}, { format }), normalise(pixels, format));
    assert.deepEqual(augment(pixels, none, { format }), normalise(pixels, format));
  }
});

test("flipping mirrors left and right, and twice is nothing", () => {
  const pixels = noise(PLAIN);
  const once = augment(pixels, { flip: 1 });
  const mirrored = new Uint8Array(pixels.length);
  for (let i = 0; i < 81; i++) {
    const x = i % 9;
    const from = (i - x + 8 - x) * 3;
    mirrored.set(pixels.subarray(from, from + 3), i * 3);
  }
  assert.deepEqual(once, normalise(mirrored));
  assert.deepEqual(augment(mirrored, { flip: 1 }), normalise(pixels));
});

test("equal streams give equal results, other streams others", () => {
  const options: AugmentOptions = {
    crop: [0.4, 1],
    rotate: 20,
    translate: 0.1,
    scale: [0.8, 1.2],
    flip: 0.5,
    colour: { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.1 },
    greyscale: 0.2,
  };
  const pixels = noise(PLAIN);
  const first = augment(pixels, options, { key: 1 });
  assert.deepEqual(augment(pixels, options, { key: 1 }), first);
  assert.notDeepEqual(augment(pixels, options, { key: 2 }), first);
  assert.ok(first.every((v) => v >= 0 && v <= 1));
});

test("a turn keeps the centre and shows the background in the corners", () => {
  const pixels = noise(PLAIN);
  const plain = normalise(pixels);
  const format: PixelFormat = { ...PLAIN, background: [0, 255, 51] };
  let corners = 0;
  for (let key = 0; key < 20; key++) {
    const out = augment(pixels, { rotate: 45 }, { format, key });
    near(out[40]!, plain[40]!);
    const corner = [0, 81, 162].map((i) => out[i]!);
    if (Math.abs(corner[0]!) < 1e-6 && Math.abs(corner[2]! - 0.2) < 1e-6) corners++;
  }
  assert.ok(corners >= 10, `the background was in the corner ${corners} times of 20`);
});

test("a zoom moves pixels away from the centre", () => {
  const pixels = new Uint8Array(9 * 9 * 3);
  pixels.fill(255, (4 * 9 + 6) * 3, (4 * 9 + 6) * 3 + 3);
  const out = augment(pixels, { scale: [2, 2] });
  near(out[4 * 9 + 8]!, 1);
  near(out[4 * 9 + 6]!, 0);
});

/** On a ramp (red: x, green: y), the places in the picture that the pixels of the result come from. */
function ramp(options: AugmentOptions, key: number) {
  const size = 65;
  const pixels = new Uint8Array(size * size * 3);
  for (let i = 0; i < size * size; i++) pixels.set([i % size, Math.floor(i / size), 0], i * 3);
  const out = augment(pixels, options, { format: { ...PLAIN, size }, key });
  return (x: number, y: number) => {
    const i = y * size + x;
    return [out[i]! * 255, out[size * size + i]! * 255] as const;
  };
}

test("a turn and a zoom neither stretch nor mirror, and turn by no more than asked", () => {
  const turns = Array.from({ length: 30 }, (_, key) => {
    const from = ramp({ rotate: 30, scale: [1.25, 1.25] }, key);
    const [ax, ay] = from(42, 32).map((v) => (v - 32) / 10) as [number, number];
    const [bx, by] = from(32, 42).map((v) => (v - 32) / 10) as [number, number];
    near(Math.hypot(ax, ay), 1 / 1.25, 1e-4);
    near(ax, by, 1e-4);
    near(ay, -bx, 1e-4);
    return (Math.atan2(ay, ax) * 180) / Math.PI;
  });
  assert.ok(Math.max(...turns) <= 30.01 && Math.max(...turns) > 15, `${turns}`);
  assert.ok(Math.min(...turns) >= -30.01 && Math.min(...turns) < -15, `${turns}`);
});

test("a shift moves the whole picture, by no more than asked, and uncovers the background", () => {
  const shifts = Array.from({ length: 30 }, (_, key) => {
    const from = ramp({ translate: 0.25 }, key);
    const [x, y] = from(32, 32);
    assert.ok(Math.abs(x - 32) <= 16.25 && Math.abs(y - 32) <= 16.25);
    const [nextX, nextY] = from(33, 34);
    near(nextX - x, 1, 1e-3);
    near(nextY - y, 2, 1e-3);
    if (x > 33) near(from(64, 32)[0], 255, 1e-3);
    return x - 32;
  });
  assert.ok(Math.max(...shifts) > 8 && Math.min(...shifts) < -8, `${shifts}`);
});

test("a mirrored picture that is turned by nothing is taken pixel by pixel", () => {
  const pixels = noise(PLAIN);
  const turned = augment(pixels, { flip: 1, scale: [1, 1.0000001] });
  const mirrored = augment(pixels, { flip: 1 });
  for (const [i, value] of turned.entries()) near(mirrored[i]!, value, 1e-4);
});

test("colour changes keep greys grey; greyscale leaves luma", () => {
  const colour = { saturation: 1, hue: 0.5 };
  for (let key = 0; key < 10; key++) {
    const grey = augment(flat([90, 90, 90]), { colour }, { key });
    for (const i of [0, 81, 162]) near(grey[i]!, 90 / 255);
  }
  const luma = (0.299 * 200 + 0.587 * 50 + 0.114 * 10) / 255;
  const out = augment(flat([200, 50, 10]), { greyscale: 1 });
  for (const i of [0, 81, 162]) near(out[i]!, luma);
});

test("a third of the hue circle exchanges the primary colours", () => {
  // Over many draws in a third of a circle either way, red comes near to green and to blue.
  const seen = Array.from({ length: 300 }, (_, key) => {
    const out = augment(flat([255, 0, 0]), { colour: { hue: 1 / 3 } }, { key });
    return [out[0]!, out[81]!, out[162]!];
  });
  const close = (a: readonly number[], b: readonly number[]) =>
    a.every((v, i) => Math.abs(v - b[i]!) < 0.05);
  assert.ok(seen.some((rgb) => close(rgb, [0, 1, 0])));
  assert.ok(seen.some((rgb) => close(rgb, [0, 0, 1])));
});

test("brightness scales, contrast pivots about mid-grey, in grey pictures too", () => {
  const format: PixelFormat = { size: 9, channels: 1, mean: [0], std: [1] };
  const values = (options: AugmentOptions, level: number) =>
    Array.from({ length: 200 }, (_, key) => {
      const pixels = new Uint8Array(81).fill(level);
      return augment(pixels, options, { format, key })[0]! * 255;
    });
  const bright = values({ colour: { brightness: 0.5 } }, 100);
  assert.ok(Math.min(...bright) >= 50 && Math.min(...bright) < 55, "down to half");
  assert.ok(Math.max(...bright) <= 150 && Math.max(...bright) > 145, "up by half");
  const contrast = values({ colour: { contrast: 1 } }, 127);
  assert.ok(contrast.every((v) => Math.abs(v - 127.5) <= 1));
  const spread = values({ colour: { contrast: 0.5 } }, 28);
  assert.equal(Math.min(...spread), 0, "clamped at black");
  assert.ok(Math.max(...spread) <= 77.75 && Math.max(...spread) > 75, "half way to mid-grey");
});

test("colours change as often as asked", () => {
  const colour = { brightness: 0.5, contrast: 0.5, saturation: 0.5, hue: 0.1 };
  const plain = normalise(flat([200, 50, 10]));
  const unchanged = (options: AugmentOptions) =>
    Array.from({ length: 400 }, (_, key) => augment(flat([200, 50, 10]), options, { key })).filter(
      (out) => out.every((value, i) => value === plain[i]),
    ).length;
  assert.equal(unchanged({ colour }), 0);
  assert.equal(unchanged({ colour: { ...colour, probability: 0 } }), 400);
  const kept = unchanged({ colour: { ...colour, probability: 0.3 } });
  // Four standard deviations about 280.
  assert.ok(Math.abs(kept - 280) < 37, `${kept} of 400 kept their colours`);
  const grey = augment(flat([200, 50, 10]), { colour: { probability: 0 }, greyscale: 1 });
  near(grey[0]!, grey[81]!);
});

test("options that draw nothing do not move the random numbers of others", () => {
  const options: AugmentOptions = {
    crop: [0.4, 1],
    flip: 0.5,
    colour: { hue: 0.2 },
    greyscale: 0.5,
  };
  const with0 = { ...options, blur: { probability: 0, sigma: [1, 2] } } as const;
  for (let key = 0; key < 10; key++) {
    assert.deepEqual(
      augment(noise(PLAIN), with0, { key }),
      augment(noise(PLAIN), options, { key }),
    );
  }
});

/** Blurs by the sum over a square of the product of two bells, edges repeated. */
function plainBlur(planes: Float32Array, size: number, sigma: number, radius: number): number[] {
  const within = (i: number) => Math.max(0, Math.min(i, size - 1));
  const area = size * size;
  return Array.from(planes, (_, i) => {
    const [plane, y, x] = [Math.floor(i / area), Math.floor((i % area) / size), i % size];
    let sum = 0;
    let weights = 0;
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) {
        const weight = Math.exp(-(dx ** 2 + dy ** 2) / (2 * sigma ** 2));
        sum += weight * planes[plane * area + within(y + dy) * size + within(x + dx)]!;
        weights += weight;
      }
    }
    return sum / weights;
  });
}

test("blur is Gaussian, in normalised and in grey pictures too", () => {
  const grey: PixelFormat = { size: 8, channels: 1, mean: [0.5], std: [0.3] };
  for (const [format, sigma, radius] of [
    [PLAIN, 1.5, 1],
    [FORMAT, 0.8, 2],
    [FORMAT, 5, 12],
    [grey, 1, 1],
  ] as const) {
    const pixels = noise(format);
    const blur = { sigma: [sigma, sigma], radius } as const;
    const out = augment(pixels, { blur }, { format });
    const expected = plainBlur(normalise(pixels, format), format.size, sigma, radius);
    for (const [i, value] of out.entries()) near(value, expected[i]!);
    // Three standard deviations are reached without a radius.
    const wide = augment(pixels, { blur: { sigma: [sigma, sigma] } }, { format });
    const whole = plainBlur(normalise(pixels, format), format.size, sigma, Math.ceil(3 * sigma));
    for (const [i, value] of wide.entries()) near(value, whole[i]!);
  }
});

test("blur comes as often and as strongly as asked", () => {
  const pixels = new Uint8Array(9 * 9 * 3);
  pixels.fill(255, 40 * 3, 41 * 3);
  const blur = { probability: 0.25, sigma: [0.5, 1.5], radius: 4 } as const;
  const centres = Array.from({ length: 400 }, (_, key) => augment(pixels, { blur }, { key })[40]!);
  const blurred = centres.filter((value) => value < 1);
  // Four standard deviations about 100.
  assert.ok(Math.abs(blurred.length - 100) < 35, `${blurred.length} of 400 were blurred`);
  const centreAt = (sigma: number) => {
    const bells = Array.from({ length: 9 }, (_, i) => Math.exp(-((i - 4) ** 2) / (2 * sigma ** 2)));
    return 1 / bells.reduce((a, b) => a + b, 0) ** 2;
  };
  assert.ok(Math.min(...blurred) >= centreAt(1.5) - 1e-6 && Math.min(...blurred) < centreAt(1.35));
  assert.ok(Math.max(...blurred) <= centreAt(0.5) + 1e-6 && Math.max(...blurred) > centreAt(0.65));
});

test("views of self-supervision differ, and stay pictures", () => {
  const pixels = noise(PLAIN);
  const views = Array.from({ length: 5 }, (_, key) => augment(pixels, sslAugmentation, { key }));
  assert.equal(new Set(views.map((view) => view.join())).size, 5);
  for (const view of views) assert.ok(view.every((value) => value >= 0 && value <= 1.000001));
});
