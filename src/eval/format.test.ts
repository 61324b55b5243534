import assert from "node:assert/strict";
import { test } from "node:test";
import { formatRetrieval } from "./format.js";

test("the table is aligned and has chance beside every figure", () => {
  const table = formatRetrieval({
    textToImage: {
      r1: 0.4123,
      r5: 0.7,
      r10: 1,
      medianRank: 2,
      chance: { r1: 0.0002, r5: 0.001, r10: 0.05 },
      withoutMatch: 0,
    },
    imageToText: {
      r1: 0,
      r5: 0.000012,
      r10: 0.5,
      medianRank: 1234.5,
      chance: { r1: 0.001, r5: 0.005, r10: 0.01 },
      withoutMatch: 1,
    },
    texts: 5000,
    pictures: 1,
  });
  assert.equal(
    table,
    [
      "                   R@1       R@5     R@10  median rank",
      "text to image   41.2 %    70.0 %  100.0 %            2",
      "  by chance    0.020 %    0.10 %    5.0 %",
      "image to text    0.0 %  0.0012 %   50.0 %       1234.5",
      "  by chance     0.10 %    0.50 %    1.0 %",
      "5000 texts, 1 picture",
      "without a match: 0 texts, 1 picture",
    ].join("\n"),
  );
});
