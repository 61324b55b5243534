import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, graph, input, linear, type Tensor, type Value } from "../../graph/index.js";
import { assertClose, assertRuns, floats, type Values } from "../../graph/testing.js";
import { BufferUpdates, parameterGradients, Scope } from "../../nn/index.js";
import { SimCLR } from "./sim-clr.js";
import { SimSiam } from "./sim-siam.js";

const BATCH = 4;
const TOKENS = 3;
const PIXELS = 6;
const WIDTH = 5;
const SIZES = { projectionSize: 3, projectionHiddenSize: 7 };
type Compat = "x-clip" | undefined;

/** A module over an encoder that is one linear layer of tokens, and what `encode` was asked for. */
function build(kind: "SimSiam" | "SimCLR", compat: Compat, temperature?: number) {
  const scope = new Scope();
  const weight = scope.linear("encoder", WIDTH, PIXELS);
  const asked: string[] = [];
  const nameOf = (tensor: Tensor) => (tensor.source.kind === "input" ? tensor.source.name : "");
  const encode = (image: Tensor, patchIndices?: Tensor) => {
    asked.push([image, ...(patchIndices ? [patchIndices] : [])].map(nameOf).join(" "));
    return linear(image, weight);
  };
  const options = { width: WIDTH, ...SIZES, compat };
  const module =
    kind === "SimSiam"
      ? new SimSiam(scope.child("ssl"), options)
      : new SimCLR(scope.child("ssl"), { ...options, temperature });
  const views = ["view1", "view2"].map((name) => input(name, [BATCH, TOKENS, PIXELS]));
  const updates = new BufferUpdates();
  const patchIndices = Array.from({ length: module.passes }, (_, i) =>
    input(`kept${i}`, [BATCH, 1]),
  );
  const loss = module.loss(encode, { views: views as [Tensor, Tensor], patchIndices }, updates);
  return { scope, loss, asked, updates };
}

function valuesFor(scope: Scope): Values {
  const parameters = [...scope.parameters].map(([name, { shape }]) => {
    const low = name.endsWith("running_var") ? 0.5 : -1;
    return [name, floats(shape, low, 1.5, name)] as const;
  });
  const view = (key: string) => floats([BATCH, TOKENS, PIXELS], -1, 1, key);
  return { ...Object.fromEntries(parameters), view1: view("1"), view2: view("2") };
}

// --- The modules written as loops over rows

type Rows = number[][];

function plainLinear(rows: Rows, weight: Value, bias?: Value): Rows {
  const [out, width] = weight.shape as [number, number];
  return rows.map((row) =>
    Array.from({ length: out }, (_, o) =>
      row.reduce((sum, x, i) => sum + x * weight.data[o * width + i]!, bias?.data[o] ?? 0),
    ),
  );
}

function plainNorm(rows: Rows, weight?: Value, bias?: Value): Rows {
  const result = rows.map((row) => [...row]);
  for (let c = 0; c < rows[0]!.length; c++) {
    const mean = rows.reduce((sum, row) => sum + row[c]!, 0) / rows.length;
    const variance = rows.reduce((sum, row) => sum + (row[c]! - mean) ** 2, 0) / rows.length;
    for (const [i, row] of rows.entries()) {
      const normal = (row[c]! - mean) / Math.sqrt(variance + 1e-5);
      result[i]![c] = normal * (weight?.data[c] ?? 1) + (bias?.data[c] ?? 0);
    }
  }
  return result;
}

const plainRelu = (rows: Rows) => rows.map((row) => row.map((x) => Math.max(x, 0)));
const unit = (row: number[]) => row.map((x) => x / Math.hypot(...row));
const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const meanOf = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;

function plainProjections(values: Values, prefix: string, compat: Compat): [Rows, Rows] {
  const at = (name: string) => values[prefix + name]!;
  const project = (view: string) => {
    const tokens = Array.from({ length: BATCH * TOKENS }, (_, i) => [
      ...values[view]!.data.slice(i * PIXELS, (i + 1) * PIXELS),
    ]);
    const rows = compat ? tokens : tokens.filter((_, i) => i % TOKENS === 0);
    let x = plainLinear(rows, values["encoder.weight"]!);
    x = plainRelu(plainNorm(plainLinear(x, at("0.weight")), at("1.weight"), at("1.bias")));
    x = plainRelu(plainNorm(plainLinear(x, at("3.weight")), at("4.weight"), at("4.bias")));
    return plainNorm(plainLinear(x, at("6.weight")));
  };
  return [project("view1"), project("view2")];
}

function plainSimSiam(values: Values, compat: Compat, targets: readonly Rows[]): number {
  const at = (name: string) => values[`ssl.online_predictor.${name}`]!;
  const predict = (rows: Rows) => {
    const expanded = plainNorm(
      plainLinear(rows, at("0.weight"), at("0.bias")),
      at("1.weight"),
      at("1.bias"),
    );
    return plainLinear(plainRelu(expanded), at("3.weight"), at("3.bias"));
  };
  const [first, second] = plainProjections(values, "ssl.online_encoder.projector.", compat);
  const distance = (a: Rows, b: Rows) =>
    meanOf(a.map((row, i) => 2 - 2 * dot(unit(row), unit(b[i]!))));
  return distance(predict(first), targets[1]!) + distance(predict(second), targets[0]!);
}

function plainSimClr(values: Values, compat: Compat, temperature: number): number {
  const rows = plainProjections(values, "ssl.net.projector.", compat).flat();
  const compared = compat ? rows : rows.map(unit);
  return meanOf(
    compared.map((row, i) => {
      const exps = compared.map((other) => Math.exp(dot(row, other) / temperature));
      const others = exps.reduce((sum, e, k) => (k === i ? sum : sum + e), 0);
      return -Math.log(exps[(i + rows.length / 2) % rows.length]! / others);
    }),
  );
}

/** Asserts the loss, and each of its gradients by central differences of the plain formula. */
async function assertModule(
  { scope, loss }: { scope: Scope; loss: Tensor },
  plain: (values: Values) => number,
) {
  const values = valuesFor(scope);
  const outputs = graph({ loss });
  const fed = Object.fromEntries([...outputs.inputs.keys()].map((name) => [name, values[name]!]));
  await assertRuns(outputs, fed, 1e-5, "loss");
  assertClose(evaluate(outputs, fed).loss!.data, [plain(values)], 1e-6, "loss");
  const gradients = parameterGradients(loss, scope.parameters);
  for (const [name, { trainable }] of scope.parameters)
    assert.equal(gradients.has(name), trainable);
  for (const [name, gradient] of gradients) {
    const x = values[name]!;
    const expected = Array.from(x.data, (center, i) => {
      const moved = (by: number) => {
        const data = x.data.slice();
        data[i] = center + by;
        return plain({ ...values, [name]: { ...x, data } });
      };
      return (moved(1e-5) - moved(-1e-5)) / 2e-5;
    });
    assertClose(evaluate(graph({ gradient }), fed).gradient!.data, expected, 1e-4, name);
  }
}

for (const compat of [undefined, "x-clip"] as const) {
  const mode = compat ?? "the papers";

  test(`SimSiam after ${mode}: no gradient flows to the targets`, async () => {
    const built = build("SimSiam", compat);
    const prefix = "ssl.online_encoder.projector.";
    const targets = plainProjections(valuesFor(built.scope), prefix, compat);
    await assertModule(built, (values) => plainSimSiam(values, compat, targets));
  });

  test(`SimCLR after ${mode}`, async () => {
    // 0.5 keeps exponentials of the plain formula finite for rows that are not of length 1.
    await assertModule(build("SimCLR", compat, 0.5), (v) => plainSimClr(v, compat, 0.5));
  });

  test(`after ${mode}, statistics move once a pass, and each pass has its patches`, () => {
    const passes = compat ? 4 : 2;
    const count = (name: string, { updates, scope }: ReturnType<typeof build>) => {
      const after = graph({ n: updates.values.get(`ssl.${name}.num_batches_tracked`)! });
      const values = valuesFor(scope);
      const n = `ssl.${name}.num_batches_tracked`;
      return Math.round(evaluate(after, { [n]: values[n]! }).n!.data[0]! - values[n]!.data[0]!);
    };
    const siam = build("SimSiam", compat);
    assert.equal(count("online_encoder.projector.7", siam), passes);
    assert.equal(count("online_predictor.1", siam), 2);
    const order = ["view1 kept0", "view2 kept1", "view1 kept2", "view2 kept3"];
    assert.deepEqual(siam.asked, order.slice(0, passes));
    const clr = build("SimCLR", compat);
    assert.equal(count("net.projector.1", clr), 2);
    assert.deepEqual(clr.asked, order.slice(0, 2));
  });
}

test("sizes are x-clip's by default", () => {
  const shapes = (scope: Scope) =>
    Object.fromEntries([...scope.parameters].map(([name, { shape }]) => [name, shape]));
  const siam = new Scope();
  new SimSiam(siam, { width: 8 });
  assert.deepEqual(shapes(siam)["online_encoder.projector.6.weight"], [256, 4096]);
  assert.deepEqual(shapes(siam)["online_predictor.0.weight"], [4096, 256]);
  const clr = new Scope();
  new SimCLR(clr, { width: 8 });
  assert.deepEqual(shapes(clr)["net.projector.0.weight"], [4096, 8]);
  assert.deepEqual(shapes(clr)["net.projector.6.weight"], [128, 4096]);
});

test("a row a picture is taken as it is; other shapes are refused", () => {
  const lossOf = (shape: number[]) => {
    const module = new SimCLR(new Scope(), { width: 2, ...SIZES });
    const views = [input("a", shape), input("b", shape)] as const;
    return module.loss((x) => x, { views }, new BufferUpdates());
  };
  assert.deepEqual(lossOf([4, 2]).shape, []);
  assert.throws(() => lossOf([4, 2, 2, 2]), {
    message: "what a picture is encoded as must be [B, D] or [B, T, D], is [4, 2, 2, 2]",
  });
});
