import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { decodeModel, emit } from "../onnx/index.js";
import { sessionOptions } from "../runtime/options.js";
import * as ort from "../runtime/ort.js";
import {
  add,
  cast,
  chunk,
  evaluate,
  exp,
  type Graph,
  gather,
  grad,
  graph,
  input,
  linear,
  matmul,
  mul,
  type Node,
  pullback,
  recompute,
  sin,
  type Tensor,
  tanh,
  topological,
  transpose,
  where,
} from "./index.js";
import {
  assertClose,
  assertGradients,
  assertRuns,
  bools,
  floats,
  inputsOf,
  integers,
  project,
  runOnce,
  toDouble,
  total,
  type Values,
} from "./testing.js";

type Block = (block: () => Tensor) => Tensor;
const plainly: Block = (block) => block();

/** Model code that makes its blocks with a function it is given. */
type BuildWith = (inputs: Record<string, Tensor>, block: Block) => Tensor;

const count = (nodes: readonly Node[], name: string) =>
  nodes.filter(({ operator }) => operator.name === name).length;

/** Loss and gradients of all floats, with blocks made by `block`. */
function trained(build: BuildWith, values: Values, block: Block): Graph {
  const inputs = inputsOf(values);
  const loss = project(build(inputs, block), build(inputs, plainly).shape as readonly number[]);
  const names = Object.keys(values).filter((name) => values[name]!.dtype.startsWith("float"));
  const found = grad(
    loss,
    names.map((name) => inputs[name]!),
  );
  const gradients = names.flatMap((name, i) => (found[i] ? [[`d${name}`, found[i]]] : []));
  return graph({ loss, ...Object.fromEntries(gradients) });
}

const square = { x: floats([3, 4], -1, 1, "x"), w: floats([4, 4], -1, 1, "w") };

const cases: Record<string, { build: BuildWith; values: Values }> = {
  "a block with a parameter": {
    build: ({ x, w }, block) => tanh(block(() => tanh(matmul(tanh(x!), w!)))),
    values: square,
  },
  "a chain of blocks with one parameter": {
    build: ({ x, w }, block) => {
      let hidden = x!;
      for (let i = 0; i < 3; i++) {
        const before = hidden;
        hidden = block(() => add(before, tanh(matmul(before, w!))));
      }
      return hidden;
    },
    values: square,
  },
  "a block used twice, on the same and on another tensor": {
    build: ({ x, w }, block) => {
      const layer = (y: Tensor) => block(() => sin(matmul(tanh(y), w!)));
      return add(mul(layer(x!), layer(x!)), layer(layer(x!)));
    },
    values: square,
  },
  "a result used several times": {
    build: ({ x, w }, block) => {
      const y = block(() => exp(mul(x!, 0.5)));
      return add(mul(y, y), matmul(y, w!));
    },
    values: square,
  },
  "a block inside another": {
    build: ({ x, w }, block) =>
      block(() =>
        add(
          sin(block(() => tanh(matmul(x!, w!)))),
          block(() => exp(x!)),
        ),
      ),
    values: square,
  },
  "a block that is another": {
    build: ({ x, w }, block) => block(() => block(() => sin(tanh(matmul(x!, w!))))),
    values: square,
  },
  "a block that gives what it was given": {
    build: ({ x, w }, block) => {
      const y = tanh(x!);
      return matmul(
        block(() => y),
        w!,
      );
    },
    values: square,
  },
  "a block that undoes what made its input": {
    build: ({ x, w }, block) => {
      const turned = transpose(tanh(x!), [1, 0]);
      return matmul(
        block(() => sin(transpose(turned, [1, 0]))),
        w!,
      );
    },
    values: square,
  },
  "one of several outputs of an operator, another of which is used outside": {
    build: ({ x, w }, block) => {
      let outside: Tensor | undefined;
      const inside = block(() => {
        const [first, second] = chunk(tanh(matmul(x!, w!)), 2, 1);
        outside = second;
        return first!;
      });
      return mul(sin(inside), exp(outside!));
    },
    values: square,
  },
  "whole numbers, bools and sizes that broadcast": {
    build: ({ x, w, rows, mask }, block) => {
      const y = block(() => tanh(gather(x!, rows!)));
      return block(() => where(mask!, matmul(y, w!), mul(cast(rows!, w!.dtype), 0.5)));
    },
    values: {
      ...square,
      rows: integers([5, 1], 0, 3, "int32"),
      mask: bools([5, 1, 4]),
    },
  },
  "a scalar": {
    build: ({ x, w }, block) =>
      mul(
        block(() => sin(total(matmul(x!, w!)))),
        tanh(x!),
      ),
    values: square,
  },
};

describe("recomputation changes no number:", () => {
  for (const [name, { build, values }] of Object.entries(cases)) {
    test(name, async () => {
      const wide = toDouble(values);
      const exact = evaluate(trained(build, wide, plainly), wide);
      const again = evaluate(trained(build, wide, recompute), wide);
      assert.deepEqual(Object.keys(again), Object.keys(exact));
      for (const [output, { data }] of Object.entries(again)) {
        assertClose(data, exact[output]!.data, 1e-14, `${output} in double precision`);
      }
      const recomputed = trained(build, values, recompute);
      await assertRuns(recomputed, values, 1e-5, name);
      const expected = await runOnce(trained(build, values, plainly), values);
      for (const [output, actual] of Object.entries(await runOnce(recomputed, values))) {
        assertClose(actual, expected[output]!, 1e-6, output);
      }
    });

    test(`${name}, against finite differences, and differentiated again`, () => {
      assertGradients((inputs) => build(inputs, recompute), values);
    });

    test(`${name}: without a gradient the model is the same`, () => {
      const inputs = inputsOf(values);
      const model = (block: Block) => emit(graph({ y: build(inputs, block) }));
      assert.deepEqual(model(recompute), model(plainly));
    });
  }
});

const x = input("x", [3, 4]);
const w = input("w", [4, 4]);
const cotangent = input("cotangent", [3, 4]);

test("the copy waits for the gradient, with all that it is made of", () => {
  const y = recompute(() => tanh(matmul(exp(x), exp(w))));
  const [byX, byW] = pullback([y], [cotangent], [x, w]);
  const nodes = topological([y, byX!, byW!]);
  assert.equal(count(topological([y]), "Exp"), 2);
  const exps = nodes.filter(({ operator }) => operator.name === "Exp");
  const waiting = exps.filter(({ outputs }) => graph({ y: outputs[0]! }).inputs.has("cotangent"));
  assert.equal(exps.length, 4, "each once in the forward and once in the backward");
  assert.equal(waiting.length, 2);
  assert.equal(count(nodes, "Tanh"), 2);
});

test("what a block does not need for its gradients is not computed again", () => {
  const y = recompute(() => matmul(tanh(x), w));
  const nodes = topological([y, ...pullback([y], [cotangent], [x, w]).map((g) => g!)]);
  assert.equal(count(nodes, "MatMul"), 3, "forward, by x and by w");
  assert.equal(count(nodes, "Tanh"), 2);
});

test("gradients of what came before wait for those of a block's parameters", () => {
  const before = exp(x);
  const y = recompute(() => matmul(before, w));
  const [byX, byW] = pullback([y], [cotangent], [x, w]);
  const { source } = byW!;
  assert.ok(source.kind === "node");
  assert.ok(topological([byX!]).includes(source.node));
  const [plain] = pullback([matmul(before, w)], [cotangent], [x]);
  assert.equal(count(topological([plain!]), "MatMul"), 1, "nothing waits without a block");
});

test("no gradient is made for a parameter that is not learnt", () => {
  const y = recompute(() => tanh(matmul(x, w)));
  const [byX] = pullback([y], [cotangent], [x]);
  const nodes = topological([byX!]);
  assert.equal(count(nodes, "MatMul"), 2, "the copy's, and the gradient by x");
});

test("a tensor inside a block has its gradient too", () => {
  const values = { ...square, cotangent: floats([3, 4], -1, 1, "cotangent") };
  const gradients = (block: Block) => {
    let inner: Tensor | undefined;
    const y = block(() => {
      inner = tanh(matmul(x, w));
      return exp(inner);
    });
    const [byInner, byW, byY] = pullback([y], [cotangent], [inner!, w, y]);
    return evaluate(graph({ byInner: byInner!, byW: byW!, byY: byY! }), values);
  };
  assert.deepEqual(gradients(recompute), gradients(plainly));
});

test("sizes may have names", async () => {
  const rows = input("rows", ["batch", 4]);
  const weight = input("weight", [4, 4]);
  const y = recompute(() => tanh(linear(tanh(rows), weight)));
  const [byRows, byWeight] = grad(total(mul(y, y)), [rows, weight]);
  const values = { rows: floats([3, 4]), weight: floats([4, 4]) };
  await assertRuns(graph({ byRows: byRows!, byWeight: byWeight! }), values, 1e-5, "named sizes");
});

test("ONNX Runtime does not merge the copies", async () => {
  const folder = mkdtempSync(join(tmpdir(), "clipsmith-recompute-"));
  /** How often the optimised model of a backward pass through two layers computes tanh. */
  const tanhs = async (block: Block) => {
    const layer = (y: Tensor) => block(() => tanh(matmul(y, w)));
    const [byX, byW] = pullback([layer(layer(x))], [cotangent], [x, w]);
    const optimizedModelFilePath = join(folder, "optimised.onnx");
    const session = await ort.InferenceSession.create(emit(graph({ byX: byX!, byW: byW! })), {
      ...sessionOptions({ threads: 1 }),
      optimizedModelFilePath,
    });
    await session.release();
    const model = decodeModel(readFileSync(optimizedModelFilePath));
    return model.graph.node.filter(({ opType }) => opType === "Tanh").length;
  };
  try {
    assert.equal(await tanhs(plainly), 2);
    assert.equal(await tanhs(recompute), 3, "the last layer's forward has no other use here");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
