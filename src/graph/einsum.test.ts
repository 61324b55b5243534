import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { einsum, evaluate, graph, input, type Value } from "./index.js";
import { assertClose, assertGradients, assertRuns, floats, inputsOf } from "./testing.js";
import { indexOf, positionOf, value } from "./value.js";

const sizes: Record<string, number> = { b: 2, h: 3, i: 4, j: 5, d: 3, p: 1 };

/** Every product of one element each, added where its letters point. */
function bruteForce(equation: string, operands: readonly Value[]): Value {
  const [left, output] = equation.split("->") as [string, string];
  const terms = left.split(",");
  const letters = [...new Set(terms.join(""))];
  const sizeOf = (term: string) => [...term].map((letter) => sizes[letter]!);
  const result = value("float64", sizeOf(output));
  const all = letters.map((letter) => sizes[letter]!);
  const count = all.reduce((a, b) => a * b, 1);
  for (let flat = 0; flat < count; flat++) {
    const position = positionOf(flat, all);
    const at = (term: string) =>
      indexOf(
        [...term].map((letter) => position[letters.indexOf(letter)]!),
        sizeOf(term),
      );
    result.data[at(output)]! += terms.reduce(
      (product, term, i) => product * operands[i]!.data[at(term)]!,
      1,
    );
  }
  return result;
}

const equations = [
  "bhid,bhjd->bhij",
  "bhij,bhjd->bhid",
  "bhid,bhjd->bhji",
  "ij,jd->id",
  "ij,jd->di",
  "ij,dj->id",
  "bij,jd->bid",
  "bid,bjd->bij",
  "bd,bd->b",
  "bid,bid->bi",
  "bid,bd->bi",
  "i,j->ij",
  "i,j->ji",
  "i,i->",
  "ij,ij->",
  "ij,ij->ij",
  "ij,ji->ij",
  "ijd,b->bi",
  "hij,bd->ih",
  "bij,bjd->d",
  "bpi,bpj->pij",
  ",ij->ji",
  "ij->ji",
  "ij->j",
  "ij->",
  "bhij->jb",
  "bhid->bhid",
];

describe("einsum is the sum over all letters", () => {
  for (const equation of equations) {
    test(equation, async () => {
      const terms = equation.split("->")[0]!.split(",");
      const values = Object.fromEntries(
        terms.map((term, i) => [
          `x${i}`,
          floats(
            [...term].map((letter) => sizes[letter]!),
            -1,
            1,
            `term ${i}`,
          ),
        ]),
      );
      const build = (inputs: ReturnType<typeof inputsOf>) =>
        einsum(equation, ...Object.values(inputs));
      const g = graph({ y: build(inputsOf(values)) });
      const expected = bruteForce(equation, Object.values(values));
      const actual = evaluate(g, values).y!;
      assert.deepEqual(actual.shape, expected.shape);
      assertClose(actual.data, expected.data, 1e-12, equation);
      await assertRuns(g, values, 1e-6, equation);
      if (expected.data.length <= 40) assertGradients(build, values);
    });
  }
});

test("spaces do not matter, and named sizes pass through", () => {
  const x = input("x", ["batch", 4, 8]);
  assert.deepEqual(einsum("b i d, b j d -> b i j", x, x).shape, ["batch", 4, 4]);
  assert.deepEqual(einsum("bid,kd->bik", x, input("w", [5, 8])).shape, ["batch", 4, 5]);
});

test("equations that do not fit say why", () => {
  const a = input("a", [2, 3]);
  const b = input("b", [4, 5]);
  const fails = (equation: string, message: RegExp, ...tensors: (typeof a)[]) =>
    assert.throws(() => einsum(equation, ...tensors), message);
  fails("ij,jk->ik", /einsum "ij,jk->ik" of \[2, 3\] and \[4, 5\]: axis j is 3 in one and 4/, a, b);
  fails("ij,jk", /write what is left over after ->/, a, b);
  fails("ij->ij", /one or two terms, one for each tensor/, a, b);
  fails("ij,jk,kl->il", /one or two terms/, a, b, a);
  fails("ijk->i", /"ijk" names 3 axes/, a);
  fails("ii->i", /"ii" repeats a letter/, a);
  fails("ij->ijj", /the result repeats a letter/, a);
  fails("ij->ik", /axis k of the result is in no term/, a);
});
