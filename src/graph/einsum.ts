import { matmul, reshape, sum, transpose } from "./operators/index.js";
import { type Dim, formatShape, product } from "./shape.js";
import type { Tensor } from "./tensor.js";

/**
 * Einstein summation of one or two tensors, `einsum("bhid,bhjd->bhij", q, k)`: letters name axes, and
 * letters missing from the result are summed. It becomes transposes and one matrix product, which run
 * several times faster than ONNX's own Einsum.
 *
 * @throws Error if a letter repeats within one tensor, stands for two sizes, or appears from nowhere.
 */
export function einsum(equation: string, ...tensors: readonly Tensor[]): Tensor {
  const [left, output] = equation.replaceAll(" ", "").split("->");
  const terms = (left ?? "").split(",");
  const fail = (why: string): never => {
    const shapes = tensors.map((x) => formatShape(x.shape)).join(" and ");
    throw new Error(`einsum "${equation}" of ${shapes}: ${why}`);
  };
  if (output === undefined) return fail("write what is left over after ->");
  if (terms.length !== tensors.length || terms.length > 2) {
    return fail("it takes one or two terms, one for each tensor");
  }
  const sizes = new Map<string, Dim>();
  for (const [i, term] of terms.entries()) {
    const { shape } = tensors[i]!;
    if (term.length !== shape.length) fail(`"${term}" names ${term.length} axes`);
    if (new Set(term).size < term.length) fail(`"${term}" repeats a letter`);
    for (const [axis, letter] of [...term].entries()) {
      const size = shape[axis]!;
      const known = sizes.get(letter) ?? size;
      if (known !== size) fail(`axis ${letter} is ${known} in one and ${size} in the other`);
      sizes.set(letter, size);
    }
  }
  const unknown = [...output].find((letter) => !sizes.has(letter));
  if (new Set(output).size < output.length) fail("the result repeats a letter");
  if (unknown !== undefined) fail(`axis ${unknown} of the result is in no term`);

  const operands = terms.map((term, i) => {
    const others = terms.filter((_, j) => j !== i).join("") + output;
    return sumAway(tensors[i]!, term, others);
  });
  const [a, b] = operands;
  if (b === undefined) return arrange(a!.tensor, a!.letters, output);

  const inB = new Set(b.letters);
  const inA = new Set(a!.letters);
  const batch = [...a!.letters].filter((x) => inB.has(x) && output.includes(x));
  const inner = [...a!.letters].filter((x) => inB.has(x) && !output.includes(x));
  const rows = [...a!.letters].filter((x) => !inB.has(x));
  const columns = [...b.letters].filter((x) => !inA.has(x));
  const dims = (letters: readonly string[]) => letters.map((letter) => sizes.get(letter)!);
  const matrix = (operand: Operand, first: string[], second: string[]) =>
    reshape(arrange(operand.tensor, operand.letters, [...batch, ...first, ...second].join("")), [
      ...dims(batch),
      product(dims(first)),
      product(dims(second)),
    ]);
  const result = matmul(matrix(a!, rows, inner), matrix(b, inner, columns));
  const letters = [...batch, ...rows, ...columns];
  return arrange(reshape(result, dims(letters)), letters.join(""), output);
}

interface Operand {
  readonly tensor: Tensor;
  readonly letters: string;
}

/** Sums over the axes whose letters nothing else mentions. */
function sumAway(tensor: Tensor, letters: string, mentioned: string): Operand {
  const gone = [...letters].flatMap((letter, axis) => (mentioned.includes(letter) ? [] : [axis]));
  const kept = [...letters].filter((letter) => mentioned.includes(letter)).join("");
  return { tensor: sum(tensor, gone), letters: kept };
}

/** Reorders axes named by letters. */
function arrange(tensor: Tensor, from: string, to: string): Tensor {
  return transpose(
    tensor,
    [...to].map((letter) => from.indexOf(letter)),
  );
}
