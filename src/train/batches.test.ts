import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { CLIP } from "../clip/index.js";
import { type Sample, trainTokenizer } from "../data/index.js";
import { modelConfigSchema } from "../model/index.js";
import { BatchSource, type BatchSourceOptions } from "./batches.js";
import type { Batch } from "./step.js";
import { colourSamples, colours, type Rgb, savePicture, tinyClip } from "./testing.js";

const LENGTH = 16;
const tokenizer = trainTokenizer([]);
const config = modelConfigSchema.parse({
  clip: { ...tinyClip, numTextTokens: tokenizer.vocabularySize, textSeqLen: LENGTH },
  preprocessing: { mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255] },
});

let root: string;
let samples: Sample[];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-batches-"));
  samples = await colourSamples(root);
});
after(() => rm(root, { recursive: true }));

async function withSource<T>(
  options: Partial<BatchSourceOptions>,
  work: (source: BatchSource) => Promise<T>,
): Promise<T> {
  const source = new BatchSource({
    samples,
    config,
    tokenizer,
    batchSize: 3,
    seed: 1,
    clip: new CLIP((options.config ?? config).clip),
    augment: {},
    sslAugment: {},
    augTexts: 0,
    augImages: 0,
    blend: 0,
    ...options,
  });
  try {
    return await work(source);
  } finally {
    await source.close();
  }
}

/** The batches of the steps, asked for in this order. */
const batchesOf = (options: Partial<BatchSourceOptions>, steps: readonly number[]) =>
  withSource(options, async (source) => {
    const batches: Batch[] = [];
    for (const step of steps) batches.push(await source.batch(step));
    return batches;
  });

const captionsOf = ({ text }: Batch) =>
  Array.from({ length: text.length / LENGTH }, (_, i) =>
    tokenizer.decode(text.subarray(i * LENGTH, (i + 1) * LENGTH)),
  );

/** The colour of each picture of a batch, where nothing was augmented. */
const coloursOf = ({ image }: Batch) =>
  Array.from({ length: image.length / 192 }, (_, i) =>
    [0, 64, 128].map((plane) => Math.round(image[i * 192 + plane]!)),
  );

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

test("a batch depends on seed and step alone, in whatever order steps are asked for", async () => {
  const augment = { colour: { brightness: 0.5 }, translate: 0.5 };
  const inOrder = await batchesOf({ augment }, range(9));
  const order = [8, 3, 0, 7, 3, 1];
  const shuffled = await batchesOf({ augment }, order);
  for (const [i, step] of order.entries()) assert.deepEqual(shuffled[i], inOrder[step]);
  const together = await withSource({ augment }, (source) =>
    Promise.all([5, 2].map((step) => source.batch(step))),
  );
  assert.deepEqual(together, [inOrder[5], inOrder[2]]);

  const [other] = await batchesOf({ augment, seed: 2 }, [3]);
  for (const part of ["text", "image", "patchIndices"] as const) {
    assert.notDeepEqual(other![part], inOrder[3]![part], part);
  }
});

test("every sample comes once an epoch, epochs in different orders", async () => {
  // 8 samples by 3: batches straddle the epochs.
  const names = (await batchesOf({}, range(16))).flatMap(captionsOf);
  const epochs = range(6).map((epoch) => names.slice(epoch * 8, (epoch + 1) * 8));
  for (const epoch of epochs) assert.deepEqual(epoch.toSorted(), Object.keys(colours).toSorted());
  assert.equal(new Set(epochs.map((epoch) => epoch.join())).size, 6);
});

test("captions are drawn from the picture's own, all of them in time", async () => {
  const several = samples.map(({ picture, captions: [name] }) => ({
    picture,
    captions: [`${name}`, `so ${name}`, `very ${name}`],
  }));
  const batches = await batchesOf({ samples: several }, range(40));
  const seen = new Set<string>();
  for (const batch of batches) {
    for (const [i, caption] of captionsOf(batch).entries()) {
      seen.add(caption);
      assert.deepEqual(coloursOf(batch)[i], colours[caption.split(" ").at(-1)!], caption);
    }
  }
  assert.equal(seen.size, 24);
});

test("pictures are changed anew in every epoch, and only if asked for", async () => {
  // Too dark to be clipped at white.
  const dim = await Promise.all(
    range(2).map(async (i) => ({
      picture: await savePicture(join(root, `dim-${i}.png`), [60 + 40 * i, 80, 70]),
      captions: ["dim"],
    })),
  );
  const single = { samples: dim, batchSize: 2 };
  const distinct = async (options: Partial<BatchSourceOptions>) => {
    const batches = await batchesOf({ ...single, ...options }, range(5));
    return new Set(batches.flatMap(coloursOf).map((colour) => colour.join())).size;
  };
  assert.equal(await distinct({}), 2);
  assert.ok((await distinct({ augment: { colour: { brightness: 0.5 } } })) >= 8);
});

test("equal pictures and shared captions are no negatives, and nothing else", async () => {
  const twin = await savePicture(join(root, "red-again.png"), colours.red as Rgb);
  const list: Sample[] = [
    { picture: samples[2]!.picture, captions: ["red"] },
    { picture: twin, captions: ["crimson"] },
    { picture: samples[3]!.picture, captions: ["bright"] },
    { picture: samples[5]!.picture, captions: ["bright", "lemon"] },
    { picture: samples[4]!.picture, captions: ["blue"] },
  ];
  const options = { samples: list, batchSize: 5, augment: { colour: { brightness: 0.2 } } };
  const drawn = new Set<string>();
  for (const batch of await batchesOf(options, range(12))) {
    const captions = captionsOf(batch);
    const owners = captions.map((caption, i) => {
      // "bright" is two samples': the brightness of blue tells them apart from nothing, red does.
      if (caption !== "bright")
        return list.findIndex((sample) => sample.captions.includes(caption));
      return coloursOf(batch)[i]![0]! > 0 ? 3 : 2;
    });
    for (const [text, caption] of captions.entries()) {
      for (let image = 0; image < 5; image++) {
        const [a, b] = [owners[text]!, owners[image]!];
        const same = a !== b && ((a < 2 && b < 2) || list[b]!.captions.includes(caption));
        assert.equal(batch.excluded[text * 5 + image], Number(same), `${caption} with ${b}`);
        if (a === 3) drawn.add(caption);
      }
    }
  }
  assert.deepEqual(drawn, new Set(["bright", "lemon"]));
});

test("a sample that comes twice in a batch is no negative of itself", async () => {
  const [batch] = await batchesOf({ samples: samples.slice(0, 2), batchSize: 4 }, [0]);
  const captions = captionsOf(batch!);
  for (const text of range(4)) {
    for (const image of range(4)) {
      const same = text !== image && captions[text] === captions[image];
      assert.equal(batch!.excluded[text * 4 + image], Number(same));
    }
  }
});

describe("pictures that cannot be read", () => {
  let mixed: Sample[];
  before(async () => {
    const broken = join(root, "broken.png");
    await writeFile(broken, "no picture");
    mixed = [
      ...samples.slice(2, 6),
      {
        picture: await savePicture(join(root, "crimson.png"), colours.red as Rgb),
        captions: ["crimson"],
      },
      { picture: broken, captions: ["broken"] },
      { picture: join(root, "missing.png"), captions: ["missing"] },
    ];
  });

  test("are replaced by others, with their captions, and listed", async () => {
    const [batches, skipped] = await withSource({ samples: mixed }, async (source) => {
      assert.deepEqual(source.skipped, []);
      const batches: Batch[] = [];
      for (const step of range(20)) batches.push(await source.batch(step));
      return [batches, source.skipped] as const;
    });
    for (const batch of batches) {
      const names = captionsOf(batch).map((name) => (name === "crimson" ? "red" : name));
      for (const [i, name] of names.entries()) {
        assert.deepEqual(coloursOf(batch)[i], colours[name], name);
        for (const [j, other] of names.entries()) {
          assert.equal(batch.excluded[i * 3 + j], Number(i !== j && name === other));
        }
      }
    }
    assert.deepEqual(skipped.map(({ where }) => where).toSorted(), [
      join(root, "broken.png"),
      join(root, "missing.png"),
    ]);
    const reasons = skipped.map(({ reason }) => reason).join("\n");
    assert.match(reasons, /does not exist/);
    assert.match(reasons, /not a JPEG, PNG/);
  });

  test("are replaced by the same others, whatever was read before", async () => {
    const inOrder = await batchesOf({ samples: mixed }, range(8));
    for (const step of [7, 4, 1]) {
      const [alone] = await batchesOf({ samples: mixed }, [step]);
      assert.deepEqual(alone, inOrder[step]);
    }
  });

  test("are an error where no other is found", async () => {
    const none = range(3).map((i) => ({ picture: join(root, `no-${i}.png`), captions: ["a"] }));
    await assert.rejects(batchesOf({ samples: none }, [0]), {
      name: "ClipsmithError",
      message:
        /^3 pictures could not be read, and no other was found after 100 tries\. The last was .*no-\d\.png: .*does not exist/,
    });
  });
});

test("kept patches are distinct, in range, and drawn for each picture and step", async () => {
  const clip = { ...config.clip, visualPatchSize: 2, visualPatchDropout: 0.75 };
  const batches = await batchesOf({ config: { ...config, clip } }, range(10));
  const draws = new Set<string>();
  const seen = new Set<number>();
  for (const { patchIndices } of batches) {
    assert.equal(patchIndices?.length, 12);
    for (const picture of range(3)) {
      const kept: number[] = [...patchIndices!.subarray(picture * 4, picture * 4 + 4)];
      assert.equal(new Set(kept).size, 4);
      assert.ok(kept.every((patch) => patch >= 0 && patch < 16));
      draws.add(kept.join());
      for (const patch of kept) seen.add(patch);
    }
  }
  assert.ok(draws.size >= 29, `${draws.size} of 30 draws differ`);
  assert.equal(seen.size, 16);

  for (const all of [{ visualPatchDropout: 0 }, { visualPatchSize: 8 }]) {
    const whole = { ...config, clip: { ...config.clip, ...all } };
    assert.ok(!("patchIndices" in (await batchesOf({ config: whole }, [0]))[0]!));
  }
});
