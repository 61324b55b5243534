import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP } from "../clip/index.js";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { isGainOrBias, Optimizer, type OptimizerOptions } from "./optimizer.js";
import { tinyClip } from "./testing.js";

const { fround } = Math;

/** AdamW as a plain loop that rounds every operation to float32: what the kernel must agree with. */
class Reference {
  readonly m: Float32Array;
  readonly v: Float32Array;
  step = 0;

  constructor(readonly p: Float32Array) {
    this.m = new Float32Array(p.length);
    this.v = new Float32Array(p.length);
  }

  update(
    gradient: Float32Array,
    options: { learningRate: number; betas: [number, number]; epsilon: number; decay: number },
  ): void {
    this.step++;
    const { learningRate, betas, epsilon, decay } = options;
    const keep = fround(1 - learningRate * decay);
    const take1 = fround(1 - betas[0]);
    const take2 = fround(1 - betas[1]);
    const stride = fround(learningRate / (1 - betas[0] ** this.step));
    const root = fround(Math.sqrt(1 - betas[1] ** this.step));
    for (let i = 0; i < this.p.length; i++) {
      const g = gradient[i]!;
      const m = fround(this.m[i]! + fround(take1 * fround(g - this.m[i]!)));
      const v = fround(fround(this.v[i]! * fround(betas[1])) + fround(fround(take2 * g) * g));
      const denominator = fround(fround(fround(Math.sqrt(v)) / root) + fround(epsilon));
      this.m[i] = m;
      this.v[i] = v;
      this.p[i] = fround(fround(this.p[i]! * keep) - fround(fround(stride * m) / denominator));
    }
  }
}

const shapes = { weight: [33, 7], bias: [7], scale: [], empty: [0, 4] } as const;

function model(seed: number) {
  const stream = random(seed, "parameters");
  const parameters = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  for (const [name, shape] of Object.entries(shapes)) {
    const count = (shape as readonly number[]).reduce((product, length) => product * length, 1);
    const values = Float32Array.from({ length: count }, () => stream.normal());
    parameters.set(name, { shape, values });
  }
  return parameters;
}

function fill(optimizer: Optimizer, step: number, scale = 1): void {
  for (const [name, gradient] of optimizer.gradients) {
    const stream = random(name, step);
    for (let i = 0; i < gradient.length; i++) gradient[i] = scale * stream.normal();
  }
}

function snapshot(optimizer: Optimizer): Record<string, number[]> {
  const state = [...optimizer.state()].map(([name, { data }]) => [name, [...data]]);
  return Object.fromEntries([...[...optimizer.parameters].map(([n, p]) => [n, [...p]]), ...state]);
}

test("the kernel follows a plain float32 loop over many steps", () => {
  const parameters = model(1);
  const references = new Map(
    [...parameters].map(([name, { values }]) => [name, new Reference(values.slice())]),
  );
  const optimizer = new Optimizer(parameters);
  for (let step = 0; step < 300; step++) {
    // Gradients of all sizes, so that epsilon matters too.
    fill(optimizer, step, 10 ** ((step % 13) - 9));
    const learningRate = 1e-2 / (1 + step);
    optimizer.step({ learningRate });
    for (const [name, reference] of references) {
      const decay = name === "weight" ? 0.2 : 0;
      const gradient = optimizer.gradients.get(name)!;
      reference.update(gradient, { learningRate, betas: [0.9, 0.98], epsilon: 1e-6, decay });
    }
  }
  for (const [name, { p, m, v }] of references) {
    // Equal to the last bit: both round every operation once.
    assert.deepEqual([...optimizer.parameters.get(name)!], [...p], name);
    assert.deepEqual([...optimizer.state().get(`adamw.m.${name}`)!.data], [...m], name);
    assert.deepEqual([...optimizer.state().get(`adamw.v.${name}`)!.data], [...v], name);
  }
});

test("the first step moves by the learning rate against the gradient's sign, and decays", () => {
  const shape = [1, 3];
  const values = Float32Array.of(1, -2, 4);
  const optimizer = new Optimizer(new Map([["weight", { shape, values }]]), {
    epsilon: 0,
    weightDecay: 0.5,
  });
  optimizer.gradients.get("weight")!.set([0.25, -8, 1e-3]);
  const { gradientNorm } = optimizer.step({ learningRate: 0.1 });
  const close = (actual: number, expected: number) =>
    assert.ok(Math.abs(actual - expected) <= 1e-6 * Math.abs(expected), `${actual}, ${expected}`);
  close(gradientNorm, Math.hypot(0.25, 8, 1e-3));
  const [a, b, c] = optimizer.parameters.get("weight")!;
  close(a!, 0.95 - 0.1);
  close(b!, -1.9 + 0.1);
  close(c!, 3.8 - 0.1);
  assert.deepEqual([...values], [1, -2, 4], "the values given are copied");
});

test("a skipped parameter keeps its value, moments and step count", () => {
  const optimizer = new Optimizer(model(2));
  fill(optimizer, 0);
  optimizer.step({ learningRate: 1e-2 });
  const before = snapshot(optimizer);
  fill(optimizer, 1);
  optimizer.gradients.get("weight")!.fill(NaN);
  const { gradientNorm } = optimizer.step({ learningRate: 1e-2, skip: new Set(["weight"]) });
  const rest = ["bias", "scale"].flatMap((name) => [...optimizer.gradients.get(name)!]);
  assert.ok(Math.abs(gradientNorm - Math.hypot(...rest)) < 1e-6, "skipped gradients don't count");
  const after = snapshot(optimizer);
  for (const name of ["weight", "adamw.m.weight", "adamw.v.weight", "adamw.step.weight"]) {
    assert.deepEqual(after[name], before[name], name);
  }
  for (const name of ["bias", "adamw.m.bias", "adamw.v.bias"]) {
    assert.notDeepEqual(after[name], before[name], name);
  }
  assert.deepEqual([after["adamw.step.weight"], after["adamw.step.bias"]], [[1], [2]]);
});

test("a gradient that is not finite changes nothing", () => {
  const optimizer = new Optimizer(model(3));
  fill(optimizer, 0);
  optimizer.step({ learningRate: 1e-2 });
  const before = snapshot(optimizer);
  for (const value of [NaN, Infinity, -Infinity]) {
    fill(optimizer, 1);
    const weight = optimizer.gradients.get("weight")!;
    weight[weight.length - 1] = value;
    const { gradientNorm } = optimizer.step({ learningRate: 1e-2, maxGradientNorm: 1 });
    assert.ok(!Number.isFinite(gradientNorm), `${gradientNorm}`);
    assert.deepEqual(snapshot(optimizer), before);
  }
});

test("large finite gradients have a finite norm", () => {
  const optimizer = new Optimizer(model(3));
  optimizer.gradients.get("bias")!.fill(3e38);
  const { gradientNorm } = optimizer.step({ learningRate: 1e-2, maxGradientNorm: 1 });
  assert.ok(Math.abs(gradientNorm / (3e38 * Math.sqrt(7)) - 1) < 1e-6, `${gradientNorm}`);
  assert.ok(optimizer.parameters.get("bias")!.every(Number.isFinite));
});

test("clipping scales all gradients to the norm, and leaves small ones", () => {
  const clipped = new Optimizer(model(4));
  const scaled = new Optimizer(model(4));
  fill(clipped, 0);
  const given = [...clipped.gradients.get("weight")!];
  const { gradientNorm } = clipped.step({ learningRate: 1e-2, maxGradientNorm: 0.5 });
  assert.deepEqual([...clipped.gradients.get("weight")!], given, "gradients are only read");
  fill(scaled, 0, 0.5 / (gradientNorm + 1e-6));
  const small = scaled.step({ learningRate: 1e-2, maxGradientNorm: 0.5 });
  assert.ok(Math.abs(small.gradientNorm - 0.5) < 1e-5);
  for (const [name, { data }] of clipped.state()) {
    const other = scaled.state().get(name)!.data;
    data.forEach((value, i) => {
      assert.ok(Math.abs(value - other[i]!) <= 1e-5 * Math.abs(value), `${name}[${i}]`);
    });
  }
});

test("parameters spread over several memories, aligned, each in one", () => {
  const parameters = new Map<string, { shape: number[]; values: Float32Array }>();
  for (let i = 0; i < 5; i++) {
    parameters.set(`w${i}`, { shape: [1000, 3], values: new Float32Array(3000).fill(i) });
  }
  const options: OptimizerOptions = { memoryBytes: 2 * 65536 };
  const split = new Optimizer(parameters, options);
  const together = new Optimizer(parameters);
  const memories = (optimizer: Optimizer) =>
    new Set([...optimizer.parameters.values()].map(({ buffer }) => buffer)).size;
  assert.deepEqual([memories(split), memories(together)], [3, 1]);
  for (const views of [split.parameters, split.gradients]) {
    for (const view of views.values()) assert.equal(view.byteOffset % 64, 0);
  }
  for (const optimizer of [split, together]) {
    fill(optimizer, 0);
    optimizer.step({ learningRate: 1e-2, maxGradientNorm: 1 });
  }
  assert.deepEqual(snapshot(split), snapshot(together));
  assert.throws(
    () => new Optimizer(parameters, { memoryBytes: 40_000 }),
    (error) => error instanceof ClipsmithError && /w0 has 3000 numbers/.test(error.message),
  );
});

test("noDecay chooses the parameters that are not decayed", () => {
  const optimizer = new Optimizer(model(5), { noDecay: (name) => name === "weight" });
  const before = snapshot(optimizer);
  optimizer.step({ learningRate: 0.5 });
  assert.deepEqual([...optimizer.parameters.get("weight")!], before.weight);
  assert.deepEqual(
    [...optimizer.parameters.get("bias")!],
    before.bias!.map((value) => fround(value * fround(0.9))),
  );
});

test("a restored optimizer goes on exactly as the one saved", () => {
  const first = new Optimizer(model(6));
  for (let step = 0; step < 5; step++) {
    fill(first, step);
    first.step({ learningRate: 1e-2, ...(step === 2 && { skip: new Set(["bias"]) }) });
  }
  const parameters = model(7);
  for (const [name, { values }] of parameters) values.set(first.parameters.get(name)!);
  const second = new Optimizer(parameters);
  const weight = { shape: [33, 7], data: first.parameters.get("weight")! };
  second.restore(new Map([...first.state(), ["weight", weight]]));
  for (const optimizer of [first, second]) {
    fill(optimizer, 9);
    optimizer.step({ learningRate: 1e-2 });
  }
  assert.deepEqual(snapshot(second), snapshot(first));
});

test("a state of another model is refused as a whole", () => {
  const optimizer = new Optimizer(model(8));
  fill(optimizer, 0);
  optimizer.step({ learningRate: 1e-2 });
  const before = snapshot(optimizer);
  const fresh = () => new Optimizer(model(8)).state();
  const refuses = (change: (state: ReturnType<typeof fresh>) => void, message: RegExp) => {
    const state = fresh();
    change(state);
    assert.throws(
      () => optimizer.restore(state),
      (error) => error instanceof ClipsmithError && message.test(error.message),
    );
    assert.deepEqual(snapshot(optimizer), before);
  };
  refuses((state) => state.delete("adamw.v.scale"), /adamw\.v\.scale .* is missing/);
  refuses(
    (state) => state.set("adamw.m.bias", { shape: [8], data: new Float32Array(8) }),
    /adamw\.m\.bias should be Float32Array \[7\] but is Float32Array \[8\]/,
  );
  assert.throws(
    () => new Optimizer(model(8), { ema: 0.9 }).restore(fresh()),
    (error) => error instanceof ClipsmithError && /ema\.weight .* is missing/.test(error.message),
  );
});

test("gains, biases of any shape, tokens and temperatures are not decayed; matrices and embeddings are", () => {
  const clip = new CLIP({ ...tinyClip, numTextTokens: 20, useMlm: true, useVisualSsl: true });
  const learnt = [...clip.parameters].filter(([, { trainable }]) => trainable);
  const kept = learnt.filter(([name, { shape }]) => isGainOrBias(name, shape)).map(([n]) => n);
  const decayed = learnt.map(([name]) => name).filter((name) => !kept.includes(name));
  for (const name of kept) {
    assert.match(name, /(\.g|\.bias|cls_token|^temperature|(projector|predictor)\.[14]\.weight)$/);
  }
  for (const name of decayed) assert.match(name, /\.weight$/);
  assert.ok(kept.includes("temperature") && kept.length > 10);
  assert.ok(decayed.includes("text_transformer.token_emb.weight"));
  assert.ok(decayed.includes("visual_transformer.pos_emb.weight"));
  // As a convolution of one's own may have it.
  assert.ok(isGainOrBias("visual_transformer.first.bias", [16, 1, 1]));
});

test("Lion follows a plain float32 loop, bit by bit, and has one moment", () => {
  const parameters = model(10);
  const references = [...parameters].map(([name, { values }]) => {
    return { name, p: values.slice(), m: new Float32Array(values.length) };
  });
  const optimizer = new Optimizer(parameters, { kind: "lion", betas: [0.9, 0.99] });
  for (let step = 0; step < 100; step++) {
    fill(optimizer, step);
    // A gradient that is nothing at first moves nothing.
    if (step < 3) optimizer.gradients.get("bias")!.fill(0);
    const learningRate = 1e-2 / (1 + step);
    optimizer.step({ learningRate });
    for (const { name, p, m } of references) {
      const keep = fround(1 - learningRate * (name === "weight" ? 0.2 : 0));
      for (const [i, g] of optimizer.gradients.get(name)!.entries()) {
        const towards = fround(g - m[i]!);
        const direction = fround(m[i]! + fround(fround(1 - 0.9) * towards));
        p[i] = fround(fround(p[i]! * keep) - fround(learningRate) * Math.sign(direction));
        m[i] = fround(m[i]! + fround(fround(1 - 0.99) * towards));
      }
    }
    if (step === 2) assert.deepEqual([...optimizer.parameters.get("bias")!], [...references[1]!.p]);
  }
  for (const { name, p, m } of references) {
    assert.deepEqual([...optimizer.parameters.get(name)!], [...p], name);
    assert.deepEqual([...optimizer.state().get(`lion.m.${name}`)!.data], [...m], name);
  }
  assert.equal(optimizer.state().size, 2 * references.length);
});

test("a factor of the learning rate is that of the decay as well", () => {
  const factored = new Optimizer(model(11), {
    learningRateFactor: (name) => (name === "weight" ? 0.25 : 1),
  });
  const slow = new Optimizer(model(11));
  for (let step = 0; step < 3; step++) {
    for (const optimizer of [factored, slow]) fill(optimizer, step);
    factored.step({ learningRate: 0.1 });
    slow.step({ learningRate: 0.025 });
  }
  const [a, b] = [snapshot(factored), snapshot(slow)];
  assert.deepEqual(a.weight, b.weight);
  assert.notDeepEqual(a.bias, b.bias);
});

test("running means follow the parameters, faster at first, and are saved", () => {
  const optimizer = new Optimizer(model(12), { ema: 0.5 });
  const means = new Map([...optimizer.means!].map(([name, values]) => [name, values.slice()]));
  assert.deepEqual([...means.get("weight")!], [...optimizer.parameters.get("weight")!]);
  for (let step = 0; step < 12; step++) {
    fill(optimizer, step);
    optimizer.step({ learningRate: 0.1 });
    optimizer.average();
    const take = fround(1 - Math.min(0.5, (1 + step) / (10 + step)));
    for (const [name, mean] of means) {
      for (const [i, value] of optimizer.parameters.get(name)!.entries()) {
        mean[i] = fround(mean[i]! + fround(take * fround(value - mean[i]!)));
      }
      assert.deepEqual([...optimizer.means!.get(name)!], [...mean], name);
    }
  }
  const other = new Optimizer(model(12), { ema: 0.5 });
  for (const [name, values] of optimizer.parameters) other.parameters.get(name)!.set(values);
  other.restore(optimizer.state());
  for (const one of [optimizer, other]) {
    fill(one, 20);
    one.step({ learningRate: 0.1 });
    one.average();
  }
  assert.deepEqual(snapshot(other), snapshot(optimizer));
  assert.equal(new Optimizer(model(12)).means, undefined);
});
