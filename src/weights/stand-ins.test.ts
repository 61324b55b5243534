import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readWeights } from "./read-weights.js";

test("weights that were not fetched are told from damaged ones", async () => {
  const root = await mkdtemp(join(tmpdir(), "clipsmith-weights-"));
  try {
    for (const [text, message] of [
      ["version https://git-lfs.github.com/spec/v1\noid sha256:00\n", /is a Git LFS pointer in/],
      ["<!DOCTYPE html>\n<html>", /is a web page in place of the file/],
    ] as const) {
      for (const name of ["model.safetensors", "model.pt", "pytorch_model.bin"]) {
        await writeFile(join(root, name), text);
        await assert.rejects(readWeights(join(root, name)), message, name);
      }
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});
