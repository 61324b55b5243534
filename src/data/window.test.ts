import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../util/random.js";
import { centreWindow, drawWindow, type Fit, type Window } from "./window.js";

function near(actual: Window, expected: Window) {
  for (const key of ["x", "y", "width", "height"] as const) {
    assert.ok(Math.abs(actual[key] - expected[key]) < 1e-9, `${key}: ${actual[key]}`);
  }
}

test("the centre is cut out of the whole pixels that torchvision chooses", () => {
  // 640 x 427 becomes 335 x 224: int(224 * 640 / 427) = int(335.7). round(111 / 2) is 56 in Python, ...
  near(centreWindow({ width: 640, height: 427 }, 224, "cover"), {
    x: (56 * 640) / 335,
    y: 0,
    width: (224 * 640) / 335,
    height: 427,
  });
  // ... and round(61 / 2) = 30: halves go to the even number.
  near(centreWindow({ width: 224, height: 285 }, 224, "cover"), {
    x: 0,
    y: 30,
    width: 224,
    height: 224,
  });
  near(centreWindow({ width: 50, height: 50 }, 10, "cover"), { x: 0, y: 0, width: 50, height: 50 });
});

test("a contained picture has whole pixels and equal margins", () => {
  near(centreWindow({ width: 100, height: 40 }, 16, "contain"), {
    x: 0,
    y: (-5 * 40) / 6,
    width: 100,
    height: (16 * 40) / 6,
  });
  const thin = centreWindow({ width: 1, height: 1000 }, 8, "contain");
  assert.deepEqual([thin.width, thin.height], [8, 1000]);
});

/** Draws many windows of a picture and tells what they have in common. */
function draw(width: number, height: number, fit: Fit, crop: readonly [number, number]) {
  return Array.from({ length: 500 }, (_, i) =>
    drawWindow({ width, height }, fit, crop, random("window", i)),
  );
}

test("crops are anywhere in the whole picture, with areas and ratios within their bounds", () => {
  for (const [width, height] of [
    [400, 300],
    [300, 500],
  ] as const) {
    const windows = draw(width, height, "cover", [0.1, 0.6]);
    const areas = windows.map((w) => (w.width * w.height) / (width * height));
    const ratios = windows.map((w) => w.width / w.height);
    assert.ok(Math.min(...areas) >= 0.1 - 1e-9 && Math.max(...areas) <= 0.6 + 1e-9);
    assert.ok(Math.min(...areas) < 0.12 && Math.max(...areas) > 0.57);
    assert.ok(Math.min(...ratios) >= 0.75 - 1e-9 && Math.max(...ratios) <= 4 / 3 + 1e-9);
    assert.ok(Math.min(...ratios) < 0.77 && Math.max(...ratios) > 1.25);
    for (const w of windows) {
      assert.ok(w.x >= 0 && w.y >= 0);
      assert.ok(w.x + w.width <= width + 1e-9 && w.y + w.height <= height + 1e-9);
    }
    assert.ok(Math.min(...windows.map((w) => w.x)) < 0.05 * width);
    assert.ok(Math.max(...windows.map((w) => w.x + w.width)) > 0.95 * width);
  }
});

test("of a very long picture, a crop is as large as its ratio allows", () => {
  for (const { x, y, width, height } of draw(1000, 90, "cover", [0.9, 1])) {
    assert.ok(Math.abs(height - 90) < 1e-9 && Math.abs(y) < 1e-9);
    assert.ok(Math.abs(width - 120) < 1e-9 && x >= 0 && x + width <= 1000 + 1e-9);
  }
  for (const { width, height } of draw(90, 1000, "cover", [0.9, 1])) {
    assert.ok(Math.abs(width - 90) < 1e-9 && Math.abs(height - 120) < 1e-9);
  }
});

test("crops of a contained picture are of the square around it", () => {
  const windows = draw(100, 20, "contain", [0.25, 0.25]);
  for (const { x, y, width, height } of windows) {
    assert.ok(Math.abs(width * height - 2500) < 1e-6);
    assert.ok(x >= -1e-9 && x + width <= 100 + 1e-9);
    assert.ok(y >= -40 - 1e-9 && y + height <= 60 + 1e-9);
  }
  assert.ok(windows.some(({ y }) => y < -30) && windows.some(({ y, height }) => y + height > 50));
});

test("a crop of everything is everything", () => {
  near(drawWindow({ width: 30, height: 30 }, "cover", [1, 1], random("any")), {
    x: 0,
    y: 0,
    width: 30,
    height: 30,
  });
});
