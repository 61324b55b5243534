import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ClipsmithError } from "../util/errors.js";
import { readSafetensorsHeader } from "../weights/index.js";
import { CLIP } from "./clip.js";
import { inferClipOptions } from "./infer-options.js";
import type { ClipOptions } from "./options.js";

const shapesOf = (options: ClipOptions) =>
  new Map([...new CLIP(options).parameters].map(([name, { shape }]) => [name, shape]));
const infer = (shapes: ReadonlyMap<string, readonly number[]>, given: ClipOptions = {}) =>
  inferClipOptions(shapes, given, "weights.pt");

const small: ClipOptions = {
  dimText: 8,
  dimImage: 12,
  dimLatent: 6,
  numTextTokens: 20,
  textEncDepth: 3,
  textSeqLen: 5,
  textHeads: 2,
  textDimHead: 4,
  visualEncDepth: 2,
  visualHeads: 3,
  visualDimHead: 6,
  visualImageSize: 20,
  visualPatchSize: 4,
  channels: 3,
};

test("all that shapes tell comes back; one of heads and their width is enough", () => {
  const shapes = shapesOf(small);
  assert.deepEqual(infer(shapes, { textHeads: 2, visualHeads: 3 }), small);
  assert.deepEqual(infer(shapes, { textDimHead: 4, visualDimHead: 6 }), small);
  const grey = shapesOf({ ...small, channels: 1 });
  assert.deepEqual(infer(grey, { textHeads: 2, visualHeads: 3 }), { ...small, channels: 1 });
  const four = shapesOf({ ...small, channels: 4 });
  const given = { textHeads: 2, visualHeads: 3, channels: 4 };
  assert.deepEqual(infer(four, given), { ...small, channels: 4 });
});

test("x-clip's default heads are recognised by their width", () => {
  const heads = { textHeads: 8, textDimHead: 64, visualHeads: 8, visualDimHead: 64 };
  const options = { ...small, ...heads };
  assert.deepEqual(infer(shapesOf(options)), options);
});

test("rotary frequencies tell the width of narrow heads, and no length of texts", () => {
  const rotary = { ...small, textRotaryPosEmb: true };
  const inferred = infer(shapesOf(rotary), { visualHeads: 3 });
  assert.deepEqual(inferred, { ...inferred, textHeads: 2, textDimHead: 4, textRotaryPosEmb: true });
  assert.ok(!("textSeqLen" in inferred));
  const wide = shapesOf({ ...rotary, textDimHead: 64 });
  assert.throws(() => infer(wide, { visualHeads: 3 }), /the text encoder are 128 wide/);
});

test("what would be a guess is asked for", () => {
  const shapes = shapesOf(small);
  const refuses = (run: () => unknown, message: RegExp) =>
    assert.throws(run, (error) => {
      assert.ok(error instanceof ClipsmithError);
      assert.match(error.message, message);
      return true;
    });
  refuses(() => infer(shapes), /weights\.pt: .*text encoder are 8 wide together.*Say textHeads/);
  refuses(() => infer(shapes, { textHeads: 2 }), /visual encoder are 18 wide.*clip\.visualHeads=N/);
  const heads = { textHeads: 2, visualHeads: 3 };
  refuses(() => infer(shapesOf({ ...small, channels: 2 }), heads), /25 patches of 32 numbers/);
  refuses(
    () => infer(new Map([["layer.weight", [3]]])),
    /weights\.pt is not a state dict of x-clip's CLIP .*: it has no text_transformer\.token_emb/,
  );
});

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

test("the options of x-clip's own models are told by their shapes", async (t) => {
  if (!existsSync(golden)) {
    t.skip(`there is no folder ${golden}; name one by CLIPSMITH_GOLDEN`);
    return;
  }
  const read = (name: string) => JSON.parse(readFileSync(join(golden, `${name}.json`), "utf8"));
  const told =
    /^(dim|num_text|text_(enc_d|seq|heads|dim|rot|causal)|visual_(enc|heads|dim|image|patch_size)|channels|downs|use_[mv])/;
  let models = 0;
  for (const { name } of read("index").cases as { name: string }[]) {
    if (name.startsWith("module_") || name === "custom_encoders") continue;
    const { ctor } = read(name) as { ctor: Record<string, unknown> };
    const { entries } = await readSafetensorsHeader(join(golden, `${name}.safetensors`));
    const shapes = new Map(
      entries
        .filter((entry) => entry.name.startsWith("param."))
        .map((entry) => [entry.name.slice("param.".length), entry.shape]),
    );
    const { text_heads, visual_heads } = ctor;
    const given = { textHeads: text_heads, visualHeads: visual_heads } as ClipOptions;
    const inferred = inferClipOptions(shapes, given, name);
    for (const [option, value] of Object.entries(ctor)) {
      if (!told.test(option) || (option === "text_seq_len" && ctor.text_rotary_pos_emb)) continue;
      const camel = option.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
      assert.equal(inferred[camel], value, `${name}: ${option}`);
    }
    const ssl = (ctor.visual_ssl as { type: string } | undefined)?.type;
    assert.equal(inferred.visualSslType, ssl, name);
    models++;
  }
  assert.ok(models > 20, `found only ${models} models`);
});
