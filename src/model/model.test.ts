import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import sharp from "sharp";
import { CLIP } from "../clip/index.js";
import { decodePicture, normaliseInto, trainTokenizer } from "../data/index.js";
import { graph } from "../graph/index.js";
import { assertClose } from "../graph/testing.js";
import { initialize } from "../nn/index.js";
import { Program } from "../runtime/index.js";
import { parseOptions } from "../util/options.js";
import { random } from "../util/random.js";
import { type ModelConfigInput, modelConfigSchema } from "./config.js";
import { loadModel, type ModelParts, modelFiles, saveDescription, saveWeights } from "./folder.js";
import { Model, pictureFormat } from "./model.js";

const WIDTH = 4;
const tokenizer = trainTokenizer(["a red square", "a green circle", "a blue square"]);

function partsOf(input: Partial<ModelConfigInput> = {}): ModelParts {
  const config = parseOptions(
    modelConfigSchema,
    {
      ...input,
      clip: {
        dimText: 8,
        dimImage: 8,
        dimLatent: WIDTH,
        numTextTokens: tokenizer.vocabularySize,
        textEncDepth: 1,
        textSeqLen: 6,
        textHeads: 2,
        textDimHead: 4,
        visualEncDepth: 1,
        visualHeads: 2,
        visualDimHead: 4,
        visualImageSize: 8,
        visualPatchSize: 4,
        ...input.clip,
      },
    },
    "model options",
  );
  return { config, tokenizer, weights: initialize(new CLIP(config.clip).parameters, 1) };
}

const parts = partsOf();
let root: string;
/** A folder with a whole model, to be copied and not changed. */
let saved: string;
const pictures: string[] = [];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-model-"));
  saved = join(root, "saved");
  await saveDescription(saved, parts);
  await saveWeights(saved, parts.config, parts.weights);
  for (let i = 0; i < 3; i++) {
    const stream = random("picture", i);
    const pixels = Uint8Array.from({ length: 8 * 8 * 3 }, () => stream.integer(256));
    const path = join(root, `${i}.png`);
    await sharp(pixels, { raw: { width: 8, height: 8, channels: 3 } }).toFile(path);
    pictures.push(path);
  }
});
after(() => rm(root, { recursive: true }));

async function withModel(work: (model: Model) => Promise<void>): Promise<void> {
  const model = await Model.load(saved, { threads: 1 });
  try {
    await work(model);
  } finally {
    await model.release();
  }
}

const row = (embeddings: Float32Array, i: number) =>
  embeddings.subarray(i * WIDTH, (i + 1) * WIDTH);

test("a model comes back as saved", async () => {
  const loaded = await loadModel(saved);
  assert.deepEqual(loaded.config, parts.config);
  assert.deepEqual(loaded.weights, parts.weights);
  assert.deepEqual(loaded.tokenizer.encode("a red circle"), tokenizer.encode("a red circle"));
});

test("a loaded model embeds as its graph does with the weights that were saved", async () => {
  const clip = new CLIP(parts.config.clip);
  const texts = ["a red square", "blue"];
  const pixels = new Float32Array(2 * 3 * 64);
  const format = pictureFormat(parts.config);
  for (const i of [0, 1]) {
    const decoded = await decodePicture(pictures[i]!, format);
    normaliseInto(pixels.subarray(i * 192, (i + 1) * 192), decoded, format);
  }
  const { text, image } = clip.inputs(2);
  const program = await Program.compile(
    graph({
      texts: clip.textLatents(clip.encodeText(text)),
      pictures: clip.imageLatents(clip.encodeImage(image)),
    }),
    { threads: 1 },
  );
  const expected = await program.run({
    ...Object.fromEntries(parts.weights),
    text: tokenizer.encodeBatch(texts, 6),
    image: pixels,
  });
  await program.release();
  await withModel(async (model) => {
    assert.equal(model.width, WIDTH);
    assertClose(await model.embedTexts(texts), expected.texts as Float32Array, 1e-6, "texts");
    const { embeddings, failed } = await model.embedPictures(pictures.slice(0, 2));
    assertClose(embeddings, expected.pictures as Float32Array, 1e-6, "pictures");
    assert.deepEqual(failed, []);
  });
});

test("no texts and no pictures give no embeddings", () =>
  withModel(async (model) => {
    assert.deepEqual(await model.embedTexts([]), new Float32Array(0));
    assert.deepEqual(await model.embedPictures([]), {
      embeddings: new Float32Array(0),
      failed: [],
    });
  }));

test("a blank text has an embedding, and one too long is cut", () =>
  withModel(async (model) => {
    const long = "red ".repeat(50);
    const embeddings = await model.embedTexts(["", "  \n", long, "red ".repeat(60), "[PAD]"]);
    for (let i = 0; i < 5; i++) {
      const length = Math.hypot(...row(embeddings, i));
      assert.ok(Math.abs(length - 1) < 1e-5, `text ${i} has length ${length}`);
    }
    assertClose(row(embeddings, 1), row(embeddings, 0), 1e-6, "blank texts");
    assertClose(row(embeddings, 3), row(embeddings, 2), 1e-6, "cut texts");
  }));

test("more items than go through at a time keep their places", () =>
  withModel(async (model) => {
    const words = ["red", "green", "blue"];
    const single = await model.embedTexts(words);
    const many = await model.embedTexts(Array.from({ length: 130 }, (_, i) => words[i % 3]!));
    const one = await model.embedPictures(pictures);
    const all = await model.embedPictures(Array.from({ length: 130 }, (_, i) => pictures[i % 3]!));
    assert.deepEqual(all.failed, []);
    assert.equal(many.length, 130 * WIDTH);
    for (let i = 0; i < 130; i++) {
      assertClose(row(many, i), row(single, i % 3), 1e-5, `text ${i}`);
      assertClose(row(all.embeddings, i), row(one.embeddings, i % 3), 1e-5, `picture ${i}`);
    }
    assert.ok(Math.abs(row(single, 0)[0]! - row(single, 1)[0]!) > 1e-4, "texts differ");
  }));

test("pictures that cannot be read have zero rows and are listed", () =>
  withModel(async (model) => {
    const broken = join(root, "broken.png");
    await writeFile(broken, "no picture");
    const list: (string | Uint8Array)[] = Array.from({ length: 70 }, (_, i) => pictures[i % 3]!);
    list[3] = broken;
    list[66] = join(root, "missing.png");
    list[69] = new Uint8Array(0);
    list[68] = new Uint8Array(await readFile(pictures[0]!));
    const { embeddings, failed } = await model.embedPictures(list);
    assert.deepEqual(
      failed.map(({ index }) => index),
      [3, 66, 69],
    );
    assert.match(failed[0]!.reason, /^it is not a picture: no JPEG/);
    assert.equal(failed[1]!.reason, "the file does not exist");
    assert.match(failed[2]!.reason, /empty/);
    for (const i of [3, 66, 69]) assert.deepEqual([...row(embeddings, i)], [0, 0, 0, 0]);
    assertClose(row(embeddings, 68), row(embeddings, 0), 1e-5, "bytes and path");
    assert.ok(Math.abs(Math.hypot(...row(embeddings, 67)) - 1) < 1e-5);
  }));

test("a picture whose file has changed is read again", () =>
  withModel(async (model) => {
    const path = join(root, "changing.png");
    await cp(pictures[0]!, path);
    const before = await model.embedPictures([path]);
    await cp(pictures[1]!, path);
    const after = await model.embedPictures([path]);
    assert.notDeepEqual(after.embeddings, before.embeddings);
  }));

describe("damage is told", () => {
  let folders = 0;
  for (const [what, damage, message] of [
    [
      "no folder",
      (folder: string) => rm(folder, { recursive: true }),
      /is not a model's folder: cannot read config\.json: .*ENOENT.*clipsmith train/,
    ],
    [
      "a torn config",
      (folder: string) => truncate(join(folder, modelFiles.config), 20),
      /cannot read config\.json: .*JSON/,
    ],
    [
      "a config of a later format",
      (folder: string) => editConfig(folder, (config) => ({ ...config, format: 2 })),
      /config\.json: format: /,
    ],
    [
      "an unknown option",
      (folder: string) =>
        editConfig(folder, (config) => ({ ...config, preprocessing: { fitt: "cover" } })),
      /config\.json: preprocessing: there is no option "fitt"; did you mean "fit"\?/,
    ],
    [
      "no tokenizer",
      (folder: string) => rm(join(folder, modelFiles.tokenizer)),
      /Can't load the tokenizer .*tokenizer\.json: .*ENOENT/,
    ],
    [
      "another tokenizer",
      (folder: string) => writeFile(join(folder, modelFiles.tokenizer), "{}"),
      /Can't load the tokenizer .*tokenizer\.json/,
    ],
    [
      "a tokenizer with too many tokens",
      (folder: string) =>
        trainTokenizer(["one one two two three three four four five five"]).save(
          join(folder, modelFiles.tokenizer),
        ),
      /tokenizer\.json has \d+ tokens, but the model of config\.json knows \d+/,
    ],
    ["no weights", (folder: string) => rm(join(folder, modelFiles.weights)), /model\.safetensors/],
    [
      "torn weights",
      (folder: string) => truncate(join(folder, modelFiles.weights), 3000),
      /model\.safetensors/,
    ],
    [
      "weights of a wider model",
      (folder: string) => saveWeightsOf(folder, { dimText: 12 }),
      /text_transformer\.cls_token should be \[8\], is \[12\], .*\n.*Do these weights belong to a mod/,
    ],
    [
      "weights of another kind of model",
      (folder: string) => saveWeightsOf(folder, { textRotaryPosEmb: true }),
      /missing: text_transformer\.abs_pos_emb\.weight\n {2}unexpected: text_transformer\.rotary/,
    ],
  ] as const) {
    test(what, async () => {
      const folder = join(root, `damaged-${folders++}`);
      await cp(saved, folder, { recursive: true });
      await damage(folder);
      await assert.rejects(Model.load(folder), { name: "ClipsmithError", message });
    });
  }

  type Json = Record<string, unknown>;
  async function editConfig(folder: string, edit: (config: Json) => Json): Promise<void> {
    const path = join(folder, modelFiles.config);
    await writeFile(path, JSON.stringify(edit(JSON.parse(await readFile(path, "utf8")))));
  }
  async function saveWeightsOf(folder: string, clip: ModelConfigInput["clip"]): Promise<void> {
    const { config, weights } = partsOf({ clip });
    await saveWeights(folder, config, weights);
  }
});

test("a model whose pictures cannot be is refused", () => {
  assert.throws(() => partsOf({ clip: { channels: 2 } }), {
    name: "ClipsmithError",
    message: /clip\.channels: pictures have 3 channels, or 1 if they are grey/,
  });
  assert.throws(() => partsOf({ clip: { channels: 1 } }), {
    message: /preprocessing: mean and std need one number for each channel/,
  });
  partsOf({ clip: { channels: 1 }, preprocessing: { mean: [0.5], std: [0.5] } });
});

test("saving again replaces the weights, and leaves no other file", async () => {
  const folder = join(root, "again");
  await mkdir(folder);
  for (const seed of [1, 2]) {
    await saveDescription(folder, parts);
    const weights = initialize(new CLIP(parts.config.clip).parameters, seed);
    await saveWeights(folder, parts.config, weights);
    assert.deepEqual((await loadModel(folder)).weights, weights);
  }
  assert.deepEqual((await readdir(folder)).sort(), Object.values(modelFiles).sort());
});
