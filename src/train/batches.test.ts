import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { CLIP } from "../clip/index.js";
import {
  openStream,
  type Sample,
  type SampleStream,
  SkipLog,
  type StreamPosition,
  trainTokenizer,
} from "../data/index.js";
import { modelConfigSchema } from "../model/index.js";
import { type Batch, inMemory } from "./batch.js";
import { BatchSource, type BatchSourceOptions } from "./batches.js";
import { excludedPairs, pairMask } from "./identities.js";
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

/** What the tests choose; all else has a default. */
interface Chosen extends Partial<BatchSourceOptions> {
  readonly samples?: readonly Sample[];
  readonly position?: StreamPosition;
}

/** [B, B] (text, image): 1 where a batch's pair is no negative. */
function excludedOf({ identities, text }: Batch): Uint8Array {
  const pairs = identities ? excludedPairs(identities) : new Int32Array();
  return pairMask(pairs, text.length / LENGTH);
}

let logs = 0;

async function withSource<T>(
  { samples: chosen = samples, position, ...options }: Chosen,
  work: (source: BatchSource, log: SkipLog) => Promise<T>,
): Promise<T> {
  const seed = options.seed ?? 1;
  const limit = { rate: 0.9, work: "Training", option: "maxSkippedRate", remedy: "allow for more" };
  const log = new SkipLog(join(root, `skipped-${logs++}.jsonl`), limit);
  const source = new BatchSource({
    streams: [openStream({ sources: [chosen], seed, ...(position && { position }) })],
    config,
    tokenizer,
    batchSize: 3,
    seed,
    clip: new CLIP((options.config ?? config).clip),
    augment: {},
    sslAugment: {},
    captionChanges: {},
    textAugment: undefined,
    augTexts: 0,
    augImages: 0,
    excludeDuplicates: true,
    blend: 0,
    log,
    workers: 1,
    maxPixels: 2 ** 28,
    ...options,
  });
  try {
    return await work(source, log);
  } finally {
    await source.close();
  }
}

async function wholeBatch(source: BatchSource): Promise<Batch> {
  const { batch, names } = await source.next();
  return inMemory(batch, names.length);
}

/** The first batches. */
const batchesOf = (options: Chosen, count: number) =>
  withSource(options, async (source) => {
    const batches: Batch[] = [];
    for (const _ of range(count)) batches.push(await wholeBatch(source));
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

/** The batches, each asked for from a source of its own that is opened where the one before stood. */
async function assertResumable(options: Chosen, whole: readonly Batch[]): Promise<void> {
  let position: StreamPosition | undefined;
  for (const [firstStep, expected] of whole.entries()) {
    const at = { ...options, firstStep, ...(position && { position }) };
    const next = await withSource(at, (source) => source.next());
    assert.deepEqual(next.batch, expected, `step ${firstStep}`);
    position = next.position as StreamPosition;
  }
}

test("a batch depends on the seed, the step and where the stream stands alone", async () => {
  const augment = { colour: { brightness: 0.5 }, translate: 0.5 };
  const whole = await batchesOf({ augment }, 9);
  await assertResumable({ augment }, whole);
  const other = await batchesOf({ augment, seed: 2 }, 4);
  for (const part of ["text", "image", "patchIndices"] as const) {
    assert.notDeepEqual(other[3]![part], whole[3]![part], part);
  }
});

test("how a picture is changed does not depend on its batch", async () => {
  const augment = { colour: { brightness: 0.5 } };
  const pictures = async (batchSize: number) =>
    (await batchesOf({ augment, batchSize }, 24 / batchSize)).flatMap(coloursOf);
  assert.deepEqual(await pictures(8), await pictures(3));
});

test("every sample comes once an epoch, epochs in different orders", async () => {
  // 8 samples by 3: batches straddle the epochs.
  const names = (await batchesOf({}, 16)).flatMap(captionsOf);
  const epochs = range(6).map((epoch) => names.slice(epoch * 8, (epoch + 1) * 8));
  for (const epoch of epochs) assert.deepEqual(epoch.toSorted(), Object.keys(colours).toSorted());
  assert.equal(new Set(epochs.map((epoch) => epoch.join())).size, 6);
});

test("captions are drawn from the picture's own, all of them in time", async () => {
  const several = samples.map(({ picture, captions: [name] }) => ({
    picture,
    captions: [`${name}`, `so ${name}`, `very ${name}`],
  }));
  const batches = await batchesOf({ samples: several }, 40);
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
  const distinct = async (options: Chosen) => {
    const batches = await batchesOf({ ...single, ...options }, 5);
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
  for (const batch of await batchesOf(options, 12)) {
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
        assert.equal(excludedOf(batch)[text * 5 + image], Number(same), `${caption} with ${b}`);
        if (a === 3) drawn.add(caption);
      }
    }
  }
  assert.deepEqual(drawn, new Set(["bright", "lemon"]));
});

test("a sample that comes twice in a batch is no negative of itself", async () => {
  const [batch] = await batchesOf({ samples: samples.slice(0, 2), batchSize: 4 }, 1);
  const captions = captionsOf(batch!);
  for (const text of range(4)) {
    for (const image of range(4)) {
      const same = text !== image && captions[text] === captions[image];
      assert.equal(excludedOf(batch!)[text * 4 + image], Number(same));
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

  test("are passed over and listed, and the others come once an epoch", async () => {
    const [batches, summary] = await withSource({ samples: mixed }, async (source, log) => {
      assert.equal(log.summary.count, 0);
      const batches: Batch[] = [];
      for (const _ of range(20)) batches.push(await wholeBatch(source));
      return [batches, log.summary] as const;
    });
    const captions = batches.flatMap(captionsOf);
    for (const epoch of range(12)) {
      const names = captions.slice(5 * epoch, 5 * epoch + 5).toSorted();
      assert.deepEqual(names, ["blue", "crimson", "green", "red", "yellow"]);
    }
    for (const batch of batches) {
      const names = captionsOf(batch).map((name) => (name === "crimson" ? "red" : name));
      for (const [i, name] of names.entries()) {
        assert.deepEqual(coloursOf(batch)[i], colours[name], name);
        for (const [j, other] of names.entries()) {
          assert.equal(excludedOf(batch)[i * 3 + j], Number(i !== j && name === other));
        }
      }
    }
    assert.deepEqual(summary.first.map(({ where }) => where).toSorted(), [
      join(root, "broken.png"),
      join(root, "missing.png"),
    ]);
    const reasons = summary.first.map(({ reason }) => reason).join("\n");
    assert.match(reasons, /does not exist/);
    assert.match(reasons, /not a picture: no JPEG, PNG/);
  });

  test("are passed over alike wherever the stream is opened", async () => {
    await assertResumable({ samples: mixed }, await batchesOf({ samples: mixed }, 12));
  });

  test("are an error where no other is found", async () => {
    const none = range(3).map((i) => ({ picture: join(root, `no-${i}.png`), captions: ["a"] }));
    await assert.rejects(batchesOf({ samples: none }, 1), {
      name: "ClipsmithError",
      message: /^Training stopped: 100 % of the last samples could not be used.*does not exist/s,
    });
  });
});

test("duplicates are negatives of each other where that is asked for", async () => {
  const twins = [samples[2]!, samples[2]!, { ...samples[3]!, captions: samples[2]!.captions }];
  for (const [excludeDuplicates, marks] of [
    [true, 6],
    [false, 0],
  ] as const) {
    const [batch] = await batchesOf({ samples: twins, excludeDuplicates }, 1);
    assert.equal(
      excludedOf(batch!).reduce((sum, mark) => sum + mark, 0),
      marks,
    );
  }
});

test("kept patches are distinct, in range, and drawn for each picture and step", async () => {
  const clip = { ...config.clip, visualPatchSize: 2, visualPatchDropout: 0.75 };
  const batches = await batchesOf({ config: { ...config, clip } }, 10);
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
    assert.ok(!("patchIndices" in (await batchesOf({ config: whole }, 1))[0]!));
  }
});

test("captions are put into templates and lose words, drawn anew each time, views their own", async () => {
  const list: Sample[] = [
    { picture: samples[2]!.picture, captions: ["red hot"] },
    { picture: samples[3]!.picture, captions: ["red hot"] },
    { picture: samples[4]!.picture, captions: ["blue"] },
  ];
  const captionChanges = { templates: ["my {}", "{} too"], wordDropout: 0.5 };
  const options = { samples: list, captionChanges, augTexts: 1 };
  const batches = await batchesOf(options, 12);
  const seen = new Set<string>();
  let differing = 0;
  for (const { text, augText, ...batch } of batches) {
    const [first, second] = [text, augText![0]!].map((view) =>
      captionsOf({ ...batch, text: view }),
    );
    for (const caption of [...first!, ...second!]) seen.add(caption);
    differing += first!.filter((caption, i) => caption !== second![i]).length;
    // What captions say counts, not how they are worded: two say the same.
    assert.equal(
      excludedOf({ ...batch, text }).reduce((sum, mark) => sum + mark, 0),
      2,
    );
  }
  const bare = ["red hot", "red", "hot", "blue"];
  const expected = bare.flatMap((caption) => [`my ${caption}`, `${caption} too`]);
  assert.deepEqual([...seen].toSorted(), expected.toSorted());
  assert.ok(differing > 12, `${differing} of 36 views differ`);
  await assertResumable(options, batches);
});

/** A clip configuration of the shared one with other options. */
const configOf = (clip: object) => ({ ...config, clip: { ...config.clip, ...clip } });

describe("more views", () => {
  const views = (texts: Int32Array) => captionsOf({ text: texts } as Batch);

  test("of texts are a picture's other captions, then the caption without a word", async () => {
    const captions = ["one ball", "one ball", "two red balls", "three"];
    const several: Sample[] = [
      { picture: samples[2]!.picture, captions },
      { picture: samples[3]!.picture, captions: ["a green circle"] },
      { picture: samples[4]!.picture, captions: ["blue"] },
    ];
    const seen = new Set<string>();
    for (const batch of await batchesOf({ samples: several, augTexts: 3 }, 20)) {
      assert.equal(batch.augText?.length, 3);
      const more = batch.augText!.map(views);
      for (const [row, caption] of captionsOf(batch).entries()) {
        const found = more.map((view) => view[row]!);
        if (captions.includes(caption)) {
          // All different captions first, in any order.
          const others = new Set([caption, found[0]!, found[1]!]);
          assert.deepEqual([...others].toSorted(), [...new Set(captions)].toSorted());
          found.splice(0, 2);
          seen.add(`${caption}: ${others}`);
        }
        for (const shorter of found) {
          const words = caption.split(" ");
          const left = words.map((_, i) => words.toSpliced(i, 1).join(" "));
          assert.ok((words.length > 1 ? left : [caption]).includes(shorter), shorter);
          seen.add(shorter);
        }
      }
    }
    for (const text of ["green circle", "a circle", "a green", "blue"]) {
      assert.ok(seen.has(text), text);
    }
  });

  test("of texts without other captions are made by swapping and leaving out words, if asked for", async () => {
    const captions = ["a b c d"];
    const list = [2, 3, 4].map((i) => ({ picture: samples[i]!.picture, captions }));
    const viewsOf = async (textAugment: BatchSourceOptions["textAugment"]) => {
      const batches = await batchesOf({ samples: list, augTexts: 1, textAugment }, 10);
      for (const batch of batches) assert.deepEqual(new Set(captionsOf(batch)), new Set(captions));
      return batches.flatMap(({ augText }) => views(augText![0]!));
    };
    const swapped = await viewsOf({ swap: 0.25 });
    for (const text of swapped) {
      assert.notEqual(text, "a b c d");
      assert.equal(text.split(" ").toSorted().join(" "), "a b c d");
    }
    assert.ok(new Set(swapped).size > 3);
    const lengths = (await viewsOf({ delete: 0.5 })).map((text) => text.split(" ").length);
    assert.ok(new Set(lengths).size > 2, lengths.join());
  });

  test("exclude pictures that one of them describes", async () => {
    const list: Sample[] = [
      { picture: samples[2]!.picture, captions: ["red", "warm"] },
      { picture: samples[5]!.picture, captions: ["yellow", "warm"] },
      { picture: samples[4]!.picture, captions: ["cold"] },
      { picture: samples[6]!.picture, captions: ["cold cold"] },
    ];
    const options = { samples: list, batchSize: 4, augTexts: 1 };
    for (const batch of await batchesOf(options, 8)) {
      const [first, second] = [captionsOf(batch), views(batch.augText![0]!)];
      const owners = first.map((caption, i) =>
        list.findIndex(({ captions }) => captions.includes(caption) && captions.length < 2) >= 0
          ? list.findIndex(({ captions }) => captions.includes(caption))
          : coloursOf(batch)[i]![1]! > 0
            ? 1
            : 0,
      );
      for (const text of range(4)) {
        for (const image of range(4)) {
          const described = [first[text]!, second[text]!].some((caption) =>
            list[owners[image]!]!.captions.includes(caption),
          );
          const expected = Number(text !== image && described);
          assert.equal(excludedOf(batch)[text * 4 + image], expected, `${first[text]}, ${image}`);
        }
      }
    }
  });

  test("of pictures are changed each in its own way, and have patches of their own", async () => {
    const augment = { colour: { brightness: 0.5 } };
    const dim = await Promise.all(
      range(3).map(async (i) => ({
        picture: await savePicture(join(root, `view-${i}.png`), [90, 80 - 30 * i, 70]),
        captions: [`dim ${i}`],
      })),
    );
    const [batch] = await batchesOf({ samples: dim, augment, augImages: 2 }, 1);
    assert.equal(batch!.augImage?.length, 2);
    const all = [batch!.image, ...batch!.augImage!].map((image) => coloursOf({ ...batch!, image }));
    assert.equal(new Set(all.map((view) => view.join())).size, 3);
    for (const row of range(3)) {
      // Brightness leaves the ratio of colours.
      const ratios = all.map((view) => view[row]![1]! / view[row]![0]!);
      for (const ratio of ratios) assert.ok(Math.abs(ratio - ratios[0]!) < 0.05, ratios.join());
    }
    assert.equal(batch!.patchIndices?.length, 3 * 3 * 2);
    assert.equal(batch!.augText, undefined);
  });

  test("are left out where nobody asks for them", async () => {
    const [batch] = await batchesOf({}, 1);
    assert.deepEqual(Object.keys(batch!).toSorted(), [
      "identities",
      "image",
      "patchIndices",
      "text",
    ]);
  });
});

describe("masked words", () => {
  const mask = config.clip.numTextTokens;
  const useMlm = configOf({ useMlm: true, mlmMaskProb: 0.25, mlmReplaceProb: 0.5 });

  test("are labelled with what they were, and hidden or shown", async () => {
    const hidden = new Set<number>();
    for (const { text, mlm } of await batchesOf({ config: useMlm }, 12)) {
      assert.ok(mlm);
      for (const row of range(3)) {
        const at = range(LENGTH).map((i) => row * LENGTH + i);
        const words = at.filter((i) => text[i] !== tokenizer.padId);
        const labelled: number[] = at.filter((i) => mlm.labels[i] !== tokenizer.padId);
        assert.equal(labelled.length, Math.ceil(0.25 * words.length));
        for (const i of at) {
          if (labelled.includes(i)) assert.equal(mlm.labels[i], text[i]);
          if (mlm.sequence[i] === text[i]) continue;
          assert.equal(mlm.sequence[i], mask);
          assert.ok(labelled.includes(i));
        }
        hidden.add(labelled.filter((i) => mlm.sequence[i] === mask).length);
      }
    }
    assert.ok(hidden.has(0) && hidden.has(1));
  });

  test("are none where no token may be asked for, which is no fault", async () => {
    const mlmMaskIgnoreTokenIds = range(tokenizer.vocabularySize);
    const [batch] = await batchesOf(
      { config: configOf({ useMlm: true, mlmMaskIgnoreTokenIds }) },
      1,
    );
    assert.deepEqual(batch!.mlm?.sequence, batch!.text);
    assert.ok(batch!.mlm?.labels.every((label) => label === tokenizer.padId));
  });
});

test("self-supervision sees two views, changed in its own way, with patches of each pass", async () => {
  for (const [options, passes] of [
    [{ visualSslType: "simsiam" }, 2],
    [{ visualSslType: "simclr" }, 2],
    [{ visualSslType: "simsiam", compat: "x-clip" }, 4],
    [{ visualPatchDropout: 0 }, 0],
  ] as const) {
    const [batch] = await batchesOf(
      {
        config: configOf({ useVisualSsl: true, visualSslProjectionHiddenSize: 4, ...options }),
        sslAugment: { greyscale: 1, colour: { brightness: 0.5 } },
        augImages: 1,
      },
      1,
    );
    const { ssl, image, augImage } = batch!;
    const plain = coloursOf(batch!);
    const captions = captionsOf(batch!);
    // The picture itself and its further view are not changed.
    assert.deepEqual(
      plain,
      captions.map((name) => colours[name]),
    );
    assert.deepEqual(augImage, [image]);
    assert.equal(ssl?.views.length, 2);
    for (const view of ssl!.views) {
      for (const [r, g, b] of coloursOf({ ...batch!, image: view })) {
        assert.ok(Math.abs(r! - g!) < 2 && Math.abs(g! - b!) < 2, "grey");
      }
    }
    assert.notDeepEqual(ssl!.views[0], ssl!.views[1]);
    assert.equal(ssl!.patchIndices?.length ?? 0, passes);
    for (const indices of ssl!.patchIndices ?? []) assert.equal(indices.length, 3 * 2);
  }
});

test("all of a batch is the same wherever the stream is opened", async () => {
  const options = {
    config: configOf({ useMlm: true, useVisualSsl: true, mlmRandomTokenProb: 0.2 }),
    augTexts: 1,
    augImages: 1,
    augment: { colour: { brightness: 0.5 } },
    sslAugment: { translate: 0.5 },
    samples: samples.map(({ picture, captions: [name] }) => ({
      picture,
      captions: [`so ${name}`, `very ${name} here`, `${name}`],
    })),
  };
  const inOrder = await batchesOf(options, 5);
  await assertResumable(options, inOrder);
  const [other, two] = [(await batchesOf({ ...options, seed: 2 }, 4))[3], inOrder[2]];
  for (const part of ["augText", "augImage", "mlm", "ssl"] as const) {
    assert.ok(inOrder[3]![part]);
    assert.notDeepEqual(other![part], inOrder[3]![part], part);
    assert.notDeepEqual(two![part], inOrder[3]![part], part);
  }
  // The parts are drawn by themselves: what is asked for beside changes none of the others.
  const alone = (await batchesOf({ ...options, config, augTexts: 0 }, 4))[3];
  for (const part of ["text", "image", "augImage", "patchIndices"] as const) {
    assert.deepEqual(alone![part], inOrder[3]![part], part);
  }
});

test("views of a picture that cannot be read are passed over, too", async () => {
  const gone = range(3).map((i) => ({
    picture: join(root, `gone-${i}.png`),
    captions: [`gone ${i}`],
  }));
  const options = {
    config: configOf({ useVisualSsl: true }),
    samples: [...samples, ...gone],
    augImages: 1,
  };
  for (const batch of await batchesOf(options, 8)) {
    const names = captionsOf(batch);
    for (const image of [batch.image, batch.augImage![0]!, ...batch.ssl!.views]) {
      assert.deepEqual(
        coloursOf({ ...batch, image }),
        names.map((name) => colours[name]),
      );
    }
  }
});

test("causal texts end with the tokenizer's end, also where they are cut", async () => {
  const causal = configOf({ textCausalMask: true, textEosId: tokenizer.eosId });
  const long = samples.map(({ picture, captions: [name] }) => ({
    picture,
    captions: [`${name} and much more than will fit`, `${name}`],
  }));
  const lengths = new Set<number>();
  for (const { text, augText } of await batchesOf(
    { config: causal, samples: long, augTexts: 1 },
    3,
  )) {
    for (const texts of [text, ...augText!]) {
      for (const row of range(3)) {
        const ids = [...texts.subarray(row * LENGTH, (row + 1) * LENGTH)];
        const end = ids.indexOf(tokenizer.eosId);
        assert.ok(end > 0);
        assert.ok(ids.slice(end + 1).every((id) => id === tokenizer.padId));
        lengths.add(end);
      }
    }
  }
  assert.ok(lengths.has(LENGTH - 1) && lengths.size > 1);
});

test("batches in chunks are those at once, whatever cannot be read", async () => {
  const missing = { picture: join(root, "gone.png"), captions: ["gone"] };
  const [clip, ssl] = [{ useMlm: true, useVisualSsl: true }, { flip: 0.5 }];
  const options = {
    samples: [...samples, missing],
    batchSize: 5,
    augImages: 1,
    augTexts: 1,
    augment: { crop: [0.5, 1] as [number, number] },
    sslAugment: ssl,
    clip: new CLIP({ ...config.clip, ...clip, visualPatchDropout: 0.5 }),
  };
  const whole = await batchesOf(options, 4);
  for (const chunkSize of [1, 2, 3]) {
    assert.deepEqual(
      await batchesOf({ ...options, chunkSize }, 4),
      whole,
      `chunks of ${chunkSize}`,
    );
  }
});

test("a picture of a batch in chunks that cannot be read a second time is named", async () => {
  const bytes = await readFile(samples[0]!.picture as string);
  const list = [{ ...samples[0]!, picture: bytes, name: "its name" }, samples[1]!];
  const plain = openStream({ sources: [samples.slice(0, 2)], seed: 1 });
  let place = 0;
  const stream: SampleStream = {
    position: plain.position,
    next: async () => ({ name: "other", ...list[place++ % 2]!, epoch: 0 }),
    close: () => plain.close(),
  };
  await withSource({ streams: [stream], batchSize: 2, chunkSize: 1 }, async (source) => {
    const { batch, names } = await source.next();
    assert.ok("pictures" in batch);
    await inMemory(batch, 2);
    bytes.fill(0);
    const at = names.indexOf("its name");
    await batch.pictures([1 - at, 2 - at]);
    await assert.rejects(batch.pictures([at, at + 1]), {
      name: "ClipsmithError",
      message: /^its name could be read when its batch began, and cannot any more: .*Leave a/,
    });
  });
});
