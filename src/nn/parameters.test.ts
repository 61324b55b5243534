import assert from "node:assert/strict";
import { test } from "node:test";
import { initialize, Scope } from "./parameters.js";

function moments(values: Float32Array) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}

test("parameters are listed by full name, in the order of their declaration", () => {
  const root = new Scope();
  const inner = root.child("encoder").child("layers.0");
  inner.linear("to_qkv", 6, 4);
  root.parameter("temperature", [], { kind: "constant", value: 1 });
  inner.buffer("inv_freq", [2], Float32Array.of(1, 2));
  assert.deepEqual(
    [...root.parameters].map(([name, { shape, trainable }]) => [name, shape, trainable]),
    [
      ["encoder.layers.0.to_qkv.weight", [6, 4], true],
      ["temperature", [], true],
      ["encoder.layers.0.inv_freq", [2], false],
    ],
  );
  assert.throws(() => root.child("encoder.layers.0").linear("to_qkv", 1, 1), {
    message: 'two parameters are named "encoder.layers.0.to_qkv.weight"',
  });
});

test("values start as torch's", () => {
  const scope = new Scope();
  scope.linear("linear", 100, 400);
  scope.embedding("embedding", 100, 400);
  scope.parameter("gain", [5], { kind: "constant", value: 1 });
  scope.buffer("buffer", [2], Float32Array.of(0.5, 0.25));
  scope.parameter("twin", [100, 400], { kind: "copy", of: "linear.weight" });
  const values = initialize(scope.parameters, 1);

  const linear = values.get("linear.weight")!;
  const bound = 1 / Math.sqrt(400);
  assert.ok(linear.every((x) => Math.abs(x) <= bound));
  assert.ok(Math.abs(moments(linear).mean) < 0.03 * bound);
  // 40,000 draws: the deviation is known to about half a percent.
  assert.ok(Math.abs(moments(linear).deviation / (bound / Math.sqrt(3)) - 1) < 0.02);
  const embedding = moments(values.get("embedding.weight")!);
  assert.ok(Math.abs(embedding.mean) < 0.03);
  assert.ok(Math.abs(embedding.deviation - 1) < 0.02);
  assert.deepEqual([...values.get("gain")!], [1, 1, 1, 1, 1]);
  assert.deepEqual([...values.get("buffer")!], [0.5, 0.25]);
  assert.deepEqual(values.get("twin"), linear);
  assert.notEqual(values.get("twin"), linear, "a copy that learns for itself");
});

test("a parameter's values depend on the seed and its own name alone", () => {
  const alone = new Scope();
  alone.linear("b", 3, 3);
  const among = new Scope();
  among.linear("a", 3, 3);
  among.linear("b", 3, 3);
  const b = initialize(alone.parameters, 7).get("b.weight");
  assert.deepEqual(initialize(among.parameters, 7).get("b.weight"), b);
  assert.notDeepEqual(initialize(among.parameters, 8).get("b.weight"), b);
  assert.notDeepEqual(initialize(among.parameters, 7).get("a.weight"), b);
});

test("a shared module's parameters have other names in files, and are declared once", () => {
  const root = new Scope();
  const encoder = root.child("encoder");
  encoder.child("net").linear("0", 2, 2);
  root.child("encoder2").linear("0", 2, 2);
  root.child("ssl").alias("net", encoder);
  assert.deepEqual([...root.aliases], [["ssl.net.net.0.weight", "encoder.net.0.weight"]]);
  assert.equal(root.parameters.size, 2);
});
