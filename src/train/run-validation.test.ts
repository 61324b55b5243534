import assert from "node:assert/strict";
import { test } from "node:test";
import { isHeldOut } from "../data/held-out.js";
import type { Sample, SampleSource } from "../data/index.js";
import { validationSamples } from "./run-validation.js";

const names = Array.from({ length: 4000 }, (_, i) => `/data/photos/${i % 40}/${i}.jpg`);
const sampleOf = (name: string): Sample => ({ picture: name, captions: [name] });

/** A source of one shard, whose fifth entry cannot be read. */
const shards = (entries: readonly string[]): SampleSource => ({
  name: "shards",
  shards: [
    {
      name: "0.tar",
      async *read() {
        for (const [at, name] of entries.entries()) {
          if (at === 4) yield { where: name, reason: "broken" };
          else yield { name, picture: new Uint8Array(1), captions: [name] };
        }
      },
    },
  ],
});

test("as many samples as asked for are validated on, drawn by their names", async () => {
  const samples = names.map(sampleOf);
  const { samples: some } = await validationSamples([samples], 30, 0.05);
  assert.equal(some.length, 30);
  assert.ok(some.every(({ name }) => isHeldOut(name, 0.05)));
  // From all of the collection, and the same ones while others come in.
  assert.ok(some.some(({ name }) => names.indexOf(name) > 3000));
  const { samples: backwards } = await validationSamples([samples.toReversed()], 30, 0.05);
  assert.deepEqual(backwards, some);
  const { samples: both, skipped } = await validationSamples(
    [samples, shards(names.slice(0, 100))],
    10,
  );
  assert.deepEqual(
    both.slice(5).map(({ name }) => name),
    [0, 1, 2, 3, 5].map((i) => names[i]),
  );
  assert.deepEqual(skipped, [{ where: names[4], reason: "broken" }]);
  await assert.rejects(validationSamples([samples.slice(0, 2)], 30, 1e-9), {
    name: "ClipsmithError",
    message:
      /at least two pictures with captions; found 0\. Hold out a larger training\.validation/,
  });
});
