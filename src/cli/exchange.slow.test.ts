import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { CLIP } from "../clip/index.js";
import { trainTokenizer } from "../data/index.js";
import { loadModel } from "../model/index.js";
import { initialize } from "../nn/index.js";
import { readSafetensors, writeSafetensors } from "../weights/index.js";
import { stateDictFile } from "../weights/testing.js";
import { clipsmith } from "./testing.js";

const tokenizer = trainTokenizer(["a red square", "a green circle"]);
const options = {
  dimText: 8,
  dimImage: 12,
  dimLatent: 6,
  numTextTokens: tokenizer.vocabularySize + 3,
  textEncDepth: 1,
  textSeqLen: 5,
  textHeads: 2,
  textDimHead: 4,
  visualEncDepth: 2,
  visualHeads: 3,
  visualDimHead: 4,
  visualImageSize: 8,
  visualPatchSize: 4,
};
const { parameters } = new CLIP(options);
const weights = initialize(parameters, 1);
const heads = ["--set", "clip.textHeads=2", "--set", "clip.visualHeads=3"];

let folder: string;
let checkpoint: string;
let tokenizerFile: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-exchange-"));
  checkpoint = join(folder, "clip.pt");
  writeFileSync(checkpoint, stateDictFile(tensors("module.")));
  tokenizerFile = join(folder, "tokenizer.json");
  await tokenizer.save(tokenizerFile);
});
after(() => rmSync(folder, { recursive: true, force: true }));

function tensors(prefix = "") {
  return new Map(
    [...parameters].map(([name, { shape }]) => [
      `${prefix}${name}`,
      { dtype: "F32" as const, shape, data: weights.get(name)! },
    ]),
  );
}

function importTo(out: string, ...more: readonly string[]) {
  return clipsmith("import", checkpoint, "--out", out, "--tokenizer", tokenizerFile, ...more);
}

async function failure(...args: readonly string[]): Promise<string> {
  const { code, stderr } = await clipsmith(...args);
  assert.equal(code, 1);
  assert.doesNotMatch(stderr, /^\s+at .*:\d+/m, "a stack");
  return stderr;
}

test("a checkpoint becomes a model's folder, and a file of all its weights again", async () => {
  const out = join(folder, "imported");
  const { code, stdout, stderr } = await importTo(out, ...heads);
  assert.equal(code, 0, stderr);
  assert.match(
    stdout,
    /^A model of [\d,]+ parameters is in .*imported:\n {2}texts of up to 5 tokens/,
  );
  assert.match(stdout, /pictures of 8 px in patches of 4 px, 2 layers, 3 heads of 4/);
  const model = await loadModel(out);
  assert.deepEqual(model.weights, weights);
  assert.deepEqual({ ...model.config.clip, ...options }, model.config.clip);
  assert.deepEqual(model.tokenizer.encode("a red circle"), tokenizer.encode("a red circle"));

  const file = join(folder, "exported.safetensors");
  const exported = await clipsmith("export", out, "--out", file);
  assert.equal(exported.code, 0, exported.stderr);
  assert.match(exported.stdout, /load_state_dict\(load_file\(".*exported\.safetensors"\)\)/);
  const read = await readSafetensors(file);
  assert.deepEqual(read.metadata, { format: "pt" });
  assert.deepEqual([...read.tensors].sort(), [...tensors()].sort());
});

test("settings come from the shapes, the file and --set, later ones winning", async () => {
  const config = join(folder, "settings.json");
  const clip = { textHeads: 4, visualHeads: 3, textPadId: 7 };
  writeFileSync(config, JSON.stringify({ model: { clip, preprocessing: { fit: "contain" } } }));
  const out = join(folder, "settings");
  mkdirSync(out);
  const file = join(folder, "clip.safetensors");
  await writeSafetensors(file, tensors());
  const { code, stderr } = await clipsmith(
    ...["import", file, "--out", out, "--tokenizer", tokenizerFile],
    ...["--config", config, "--set", "clip.textHeads=2", "--set", "preprocessing.std=[1,1,1]"],
  );
  assert.equal(code, 0, stderr);
  const written = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
  const { textHeads, textDimHead, visualHeads, textPadId } = written.clip;
  assert.deepEqual(
    { textHeads, textDimHead, visualHeads, textPadId },
    { textHeads: 2, textDimHead: 4, visualHeads: 3, textPadId: 7 },
  );
  assert.equal(written.preprocessing.fit, "contain");
  assert.deepEqual(written.preprocessing.std, [1, 1, 1]);
});

test("what is wrong is told, and nothing is written", async () => {
  const out = join(folder, "never");
  const wide = trainTokenizer(["many words of many kinds in one long sentence"]);
  const wideFile = join(folder, "wide.json");
  await wide.save(wideFile);
  assert.ok(wide.vocabularySize > options.numTextTokens);
  const from = (file: string, ...more: readonly string[]) =>
    failure("import", file, "--out", out, "--tokenizer", tokenizerFile, ...more);
  const cases: [message: Promise<string>, pattern: RegExp][] = [
    [from(checkpoint), /text encoder are 8 wide together.*--set clip\.textHeads=N/],
    [
      from(checkpoint, ...heads, "--set", "clip.textHeds=2"),
      /--set clip\.textHeds=2: .*"textHeads"/,
    ],
    [from(checkpoint, ...heads, "--set", "seed=2"), /--set seed=2: there is no option "seed"/],
    [
      from(checkpoint, ...heads, "--set", "clip.textSeqLen=9"),
      /abs_pos_emb.* should be \[9, 8\], is/,
    ],
    [from(checkpoint, ...heads, "--set", "clip.textHeads=3"), /clip\.textDimHead: /],
    [
      from(checkpoint, ...heads, "--key", "model"),
      /clip\.pt has no "model"\. There is module\.temp/,
    ],
    [from(tokenizerFile), /tokenizer\.json is not a PyTorch checkpoint/],
    [from(join(folder, "none.pt")), /Cannot open .*none\.pt/],
    [
      from(checkpoint, ...heads, "--tokenizer", wideFile),
      /has \d+ tokens, but the model knows \d+/,
    ],
    [from(checkpoint, ...heads, "--tokenizer", checkpoint), /clip\.pt/],
    [failure("import", checkpoint, "--tokenizer", tokenizerFile), /'--out <folder>' not specified/],
    [failure("import", checkpoint, "--out", out), /'--tokenizer <file>' not specified/],
  ];
  for (const [message, pattern] of cases) assert.match(await message, pattern);
  assert.ok(!existsSync(out));
  assert.match((await importTo(folder, ...heads)).stderr, /is not an empty folder/);
  assert.match((await importTo(checkpoint, ...heads)).stderr, /is not an empty folder/);

  const inside = join(checkpoint, "inside");
  const unwritable = ["--out", inside, "--tokenizer", tokenizerFile, ...heads];
  assert.match(
    await failure("import", checkpoint, ...unwritable),
    /Cannot write a model to .*inside/,
  );

  const file = join(folder, "never.safetensors");
  assert.match(await failure("export", out, "--out", file), /never is not a model's folder/);
  assert.match(await failure("export", out, "--out", "clip.pt"), /should end in \.safetensors/);
  assert.ok(!existsSync(file));
});
