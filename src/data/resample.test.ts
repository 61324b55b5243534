import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../util/random.js";
import { resample } from "./resample.js";
import type { Window } from "./window.js";

const PAPER = [10, 200, 60] as const;

function noise(width: number, height: number) {
  const stream = random("noise", width, height);
  const pixels = Uint8Array.from({ length: width * height * 3 }, () => stream.integer(256));
  return { pixels, width, height };
}

function keys(x: number): number {
  const a = Math.abs(x);
  if (a >= 2) return 0;
  return a < 1 ? 1.5 * a ** 3 - 2.5 * a ** 2 + 1 : -0.5 * a ** 3 + 2.5 * a ** 2 - 4 * a + 2;
}

/** Neighbours and their weights along an axis, or none outside of it, by the formula. */
function neighbours(length: number, centre: number, scale: number) {
  if (centre < 0 || centre >= length) return undefined;
  const stretch = Math.max(1, scale);
  const all = Array.from({ length }, (_, i) => keys((i + 0.5 - centre) / stretch));
  const sum = all.reduce((a, b) => a + b, 0);
  return all.map((weight) => weight / sum);
}

const clamp = (value: number) => Math.max(0, Math.min(255, Math.round(value)));

function plain(raster: ReturnType<typeof noise>, window: Window, size: number): Uint8Array {
  const { pixels, width, height } = raster;
  const scaleX = window.width / size;
  const scaleY = window.height / size;
  const result = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const across = neighbours(width, window.x + (x + 0.5) * scaleX, scaleX);
      const down = neighbours(height, window.y + (y + 0.5) * scaleY, scaleY);
      for (let c = 0; c < 3; c++) {
        const row = (at: number) =>
          clamp(across!.reduce((sum, w, i) => sum + w * pixels[(at * width + i) * 3 + c]!, 0));
        const value =
          across && down ? down.reduce((sum, w, i) => sum + (w && w * row(i)), 0) : PAPER[c]!;
        result[(y * size + x) * 3 + c] = clamp(value);
      }
    }
  }
  return result;
}

test("windows are what the formula says, shrunk and enlarged, within a picture and past its edges", () => {
  const cases: [number, number, Window, number][] = [
    [20, 15, { x: 3.3, y: 2.1, width: 11.7, height: 9.2 }, 8],
    [20, 15, { x: 0, y: 0, width: 20, height: 15 }, 5],
    [9, 31, { x: -4, y: 5, width: 21.5, height: 30 }, 16],
    [7, 6, { x: 2.5, y: 1, width: 2, height: 3 }, 17],
    [1, 1, { x: -1, y: 0, width: 3, height: 1 }, 6],
    [40, 33, { x: 39, y: -20, width: 10, height: 25 }, 11],
  ];
  for (const [width, height, window, size] of cases) {
    const raster = noise(width, height);
    const actual = resample(raster, window, size, PAPER);
    const expected = plain(raster, window, size);
    const worst = Math.max(...actual.map((v, i) => Math.abs(v - expected[i]!)));
    assert.ok(worst <= 1, `off by ${worst} for ${JSON.stringify({ width, height, window, size })}`);
  }
});

test("a window of whole pixels at its own size is those pixels", () => {
  const raster = noise(30, 20);
  const actual = resample(raster, { x: 7, y: 3, width: 16, height: 16 }, 16, PAPER);
  for (let y = 0; y < 16; y++) {
    const start = ((3 + y) * 30 + 7) * 3;
    const row = actual.subarray(y * 48, (y + 1) * 48);
    assert.deepEqual(row, raster.pixels.subarray(start, start + 48));
  }
});

test("plain areas keep their colour to the last bit, whatever the scale", () => {
  for (const value of [0, 1, 127, 254, 255]) {
    for (const side of [1, 5, 37, 900]) {
      const raster = {
        pixels: new Uint8Array(side * side * 3).fill(value),
        width: side,
        height: side,
      };
      const window = { x: side / 7, y: 0, width: side / 1.3, height: side };
      assert.ok(resample(raster, window, 24, PAPER).every((v) => v === value));
    }
  }
});

test("a window outside of the picture is background", () => {
  const result = resample(noise(4, 4), { x: 9, y: 0, width: 4, height: 4 }, 3, PAPER);
  assert.deepEqual([...result], Array(9).fill(PAPER).flat());
});

test("what is wider than the kernel's share of memory is worked off in strips", () => {
  const raster = noise(2000, 300);
  const whole = { x: 0, y: 0, width: 2000, height: 300 };
  const actual = resample(raster, whole, 10, PAPER);
  // The top left pixel sees the first rows, the bottom right one the last.
  const part = (x: number, y: number) => {
    const pixels = new Uint8Array(450 * 70 * 3);
    for (let row = 0; row < 70; row++) {
      const start = ((y + row) * 2000 + x) * 3;
      pixels.set(raster.pixels.subarray(start, start + 450 * 3), row * 450 * 3);
    }
    return { pixels, width: 450, height: 70 };
  };
  const corner = (x: number, y: number, window: Window) => resample(part(x, y), window, 1, PAPER);
  const first = corner(0, 0, { x: 0, y: 0, width: 200, height: 30 });
  const last = corner(1550, 230, { x: 250, y: 40, width: 200, height: 30 });
  assert.deepEqual(actual.subarray(0, 3), first);
  assert.deepEqual(actual.subarray(-3), last);
});
