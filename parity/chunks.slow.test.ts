/** Every golden case that can be is trained in chunks, too: loss and gradients are the batch's. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ChunkedGradients } from "../src/train/chunked-gradients.js";
import { FusedGradients } from "../src/train/fused-gradients.js";
import type { LossGradients } from "../src/train/loss-gradients.js";
import { batchOf } from "./batch.js";
import { clipOf, lossOptions } from "./clip-case.js";
import { maxDifference, maxMagnitude } from "./compare.js";
import { type Fixture, readFixture } from "./fixture.js";
import { parameterFeeds, zeros } from "./run.js";

const projectRoot = fileURLToPath(new URL("../../", import.meta.url));
const own = join(projectRoot, "test/fixtures/golden");
const every = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");
const folder = existsSync(every) ? every : own;

/** The loss and the gradients of a case's batch. */
async function found(fixture: Fixture, chunkSize?: number) {
  const clip = clipOf(fixture, "x-clip");
  const { batch, batchSize, textLength, augTexts, augImages } = batchOf(fixture, clip);
  const options = { clip, batchSize, textLength, augTexts, augImages, loss: lossOptions(fixture) };
  const runtime = { threads: 1 };
  const method: LossGradients = chunkSize
    ? await ChunkedGradients.compile({ ...options, chunkSize, runtime })
    : await FusedGradients.compile({ ...options, runtime });
  const gradients = zeros(method.learnt, clip.parameters);
  const values = parameterFeeds(fixture, clip.parameters);
  try {
    const { loss } = await method.run(
      batch,
      values,
      gradients,
      zeros(method.changed, clip.parameters),
    );
    return { loss, gradients };
  } finally {
    await method.release();
  }
}

for (const name of readdirSync(folder).filter((file) => file.endsWith(".safetensors"))) {
  test(`${name}: in chunks of 1, 2 and 3`, async (context) => {
    const fixture = await readFixture(folder, name.slice(0, -".safetensors".length)).catch(
      () => null,
    );
    if (!fixture || !["train", "distributed"].includes(fixture.kind)) {
      return context.skip("it has no gradients of a loss");
    }
    if (clipOf(fixture, "x-clip").sslPasses > 0) {
      return context.skip("batch norm's statistics are of the chunk");
    }
    const whole = await found(fixture);
    const largest = Math.max(...[...whole.gradients.values()].map(maxMagnitude));
    for (const chunkSize of [1, 2, 3]) {
      const chunked = await found(fixture, chunkSize);
      const off = Math.abs(chunked.loss - whole.loss) / Math.abs(whole.loss);
      assert.ok(off <= 1e-5, `chunks of ${chunkSize}: the loss is off by ${off}`);
      assert.deepEqual(
        [...chunked.gradients.keys()].toSorted(),
        [...whole.gradients.keys()].toSorted(),
      );
      for (const [path, gradient] of whole.gradients) {
        // In the temperature's gradient large parts cancel out: against float64, the batch at once is off by
        // more than 1e-5 there. What is little else than rounding is measured by other gradients.
        const floor = gradient.length === 1 ? 0.1 : 1e-3;
        const scale = Math.max(maxMagnitude(gradient), floor * largest);
        const error = maxDifference(chunked.gradients.get(path)!, gradient) / scale;
        assert.ok(error <= 1e-5, `chunks of ${chunkSize}: ${path} is off by ${error}`);
      }
    }
  });
}
