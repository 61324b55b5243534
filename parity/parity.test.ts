import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { readSafetensors, type SafetensorsTensor, writeSafetensors } from "../src/weights/index.js";
import { camelCase } from "./clip-case.js";
import type { Difference } from "./compare.js";
import { type CaseResult, passed, runCase, runFolder } from "./parity.js";

const projectRoot = fileURLToPath(new URL("../../", import.meta.url));
const golden = join(projectRoot, "test/fixtures/golden");
const everyCase = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-parity-"));
});
after(() => rm(root, { recursive: true }));

/** What is wrong with results that should agree, a line each. */
function troubles(results: readonly CaseResult[]): string[] {
  return results.flatMap((result) => {
    if ("failure" in result) return [`${result.name}: ${result.failure}`];
    if ("missing" in result) return [];
    const off = result.differences.filter(({ ok }) => !ok);
    return off.map(({ kind, name, error }) => `${result.name}: ${kind} ${name} off by ${error}`);
  });
}

function supported(results: readonly CaseResult[]): string[] {
  return results.filter((result) => "differences" in result).map(({ name }) => name);
}

test("the cases of this repository agree with x-clip", async () => {
  const results = await runFolder(golden);
  assert.deepEqual(troubles(results), []);
  assert.deepEqual(supported(results), [
    "causal_eos_filip",
    "custom_encoders",
    "dcl",
    "filip_all_pad_row",
    "freeze_image_encoder",
    "module_attention_full_mask_row",
    "module_geglu",
    "module_layernorm",
    "module_mlm_masking",
    "module_rotaryembedding",
    "multiview_text_only_cloob_dcl",
    "readme_full",
    "train100",
  ]);
  assert.ok(results.every(passed));
  assert.deepEqual(withCompat(results), ["causal_eos_filip", "filip_all_pad_row", "readme_full"]);
});

/** The cases that agree only as the original. */
function withCompat(results: readonly CaseResult[]): string[] {
  return results
    .filter((result) => "differences" in result && result.compat)
    .map(({ name }) => name);
}

test("every case that x-clip was run on agrees", async (t) => {
  if (!existsSync(everyCase)) {
    t.skip(`there is no folder ${everyCase}; name one by CLIPSMITH_GOLDEN`);
    return;
  }
  const results = await runFolder(everyCase);
  assert.deepEqual(troubles(results), []);
  assert.deepEqual(supported(results).length, results.length);
  assert.ok(results.every(passed));
  // FILIP's direction from image to text, and what self-supervision projects and compares.
  const differs = /filip|simclr|simsiam|readme_full/;
  for (const name of withCompat(results)) assert.match(name, differs);
});

type Tensors = Map<string, SafetensorsTensor>;
type Description = Record<string, unknown> & { ctor: Record<string, unknown> };

let copies = 0;

/** A folder with a changed copy of one case. */
async function changedCase(
  name: string,
  change: (tensors: Tensors, description: Description) => void,
): Promise<string> {
  const folder = join(root, `changed-${copies++}`);
  await mkdir(folder);
  const { tensors } = await readSafetensors(join(golden, `${name}.safetensors`));
  const description = JSON.parse(await readFile(join(golden, `${name}.json`), "utf8"));
  const changed = new Map(tensors);
  change(changed, description);
  await writeSafetensors(join(folder, "changed.safetensors"), changed);
  await writeFile(join(folder, "changed.json"), JSON.stringify(description));
  return folder;
}

async function run(folder: string): Promise<CaseResult> {
  return runCase(folder, "changed");
}

function differencesOf(result: CaseResult): readonly Difference[] {
  assert.ok("differences" in result, JSON.stringify(result));
  return result.differences;
}

function floatsOf(tensors: Tensors, name: string): Float32Array {
  const found = tensors.get(name);
  assert.equal(found?.dtype, "F32");
  return found.data as Float32Array;
}

/** Changes the largest number of a tensor by a thousandth. */
function perturb(tensors: Tensors, name: string): void {
  const data = floatsOf(tensors, name).slice();
  const largest = data.reduce((best, x, i) => (Math.abs(x) > Math.abs(data[best]!) ? i : best), 0);
  data[largest]! *= 1.001;
  tensors.set(name, { ...tensors.get(name)!, data } as SafetensorsTensor);
}

for (const [kind, name, tensor] of [
  ["loss", "dcl", "out.loss"],
  ["loss", "train100", "out.losses"],
  ["gradient", "dcl", "grad.text_transformer.token_emb.weight"],
  ["gradient", "dcl", "grad.visual_transformer.to_tokens.1.bias"],
  ["gradient", "module_geglu", "grad_in.x"],
  ["output", "dcl", "out.text_latents"],
  ["output", "dcl", "out.eval.image_latents"],
  ["output", "dcl", "out.eval.sim"],
  ["output", "module_layernorm", "out.y"],
  ["output", "train100", "out.final.to_text_latent.weight"],
] as const) {
  test(`a thousandth more in ${tensor} of ${name} is found, and nothing else`, async () => {
    const folder = await changedCase(name, (tensors) => perturb(tensors, tensor));
    const result = await run(folder);
    assert.ok(!passed(result));
    const off = differencesOf(result).filter(({ ok }) => !ok);
    assert.deepEqual(
      off.map((difference) => difference.kind),
      [kind],
    );
    assert.ok(tensor.endsWith(off[0]!.name) || off[0]!.name === "losses", off[0]!.name);
  });
}

test("one position masked that should not be is found", async () => {
  const folder = await changedCase("module_mlm_masking", (tensors) => {
    const mask = tensors.get("out.mask.2")!;
    const data = BigInt64Array.from(mask.data as BigInt64Array, (yes, i) => (i === 0 ? 1n : yes));
    tensors.set("out.mask.2", { ...mask, data } as SafetensorsTensor);
  });
  const off = differencesOf(await run(folder)).filter(({ ok }) => !ok);
  assert.deepEqual(
    off.map(({ name }) => name),
    ["mask.2"],
  );
});

test("a thousandth more in one parameter is found in loss, gradients and outputs", async () => {
  const folder = await changedCase("dcl", (tensors) => perturb(tensors, "param.temperature"));
  const off = differencesOf(await run(folder)).filter(({ ok }) => !ok);
  assert.deepEqual(new Set(off.map(({ kind }) => kind)), new Set(["loss", "gradient", "output"]));
});

test("a gradient that should not be there is found, and one that should", async () => {
  const extra = await changedCase("freeze_image_encoder", (tensors) => {
    tensors.delete("grad.to_text_latent.weight");
  });
  const lost = await changedCase("freeze_image_encoder", (tensors) => {
    const name = "visual_transformer.to_cls_tokens.1.weight";
    tensors.set(`grad.${name}`, tensors.get(`param.${name}`)!);
  });
  for (const [folder, name] of [
    [extra, "to_text_latent.weight (none expected)"],
    [lost, "visual_transformer.to_cls_tokens.1.weight"],
  ] as const) {
    const off = differencesOf(await run(folder)).filter(({ ok }) => !ok);
    assert.deepEqual(
      off.map((difference) => difference.name),
      [name],
    );
  }
});

/** The given rows of a tensor's first axis. */
function rows(tensor: SafetensorsTensor, order: readonly number[]): SafetensorsTensor {
  const width = tensor.data.length / tensor.shape[0]!;
  const slices = order.map((row) => tensor.data.subarray(row * width, (row + 1) * width));
  const data = tensor.data.slice(0, order.length * width);
  for (const [i, slice] of slices.entries())
    (data as Float32Array).set(slice as Float32Array, i * width);
  return { ...tensor, shape: [order.length, ...tensor.shape.slice(1)], data } as SafetensorsTensor;
}

const batchOf = (tensors: Tensors) => tensors.get("in.text")!.shape[0]!;
const perSample = (name: string) =>
  /^(in\.|out\.(eval\.)?(text|image|enc)_|out\.eval\.sim)/.test(name);

test("the order of the batch is not built in", async () => {
  const folder = await changedCase("dcl", (tensors) => {
    const batch = batchOf(tensors);
    const order = Array.from({ length: batch }, (_, i) => (i * 3 + 1) % batch);
    assert.equal(new Set(order).size, batch);
    for (const [name, tensor] of tensors)
      if (perSample(name)) tensors.set(name, rows(tensor, order));
  });
  assert.deepEqual(troubles([await run(folder)]), []);
});

test("neither the size of the batch nor the length of texts is built in", async () => {
  const folder = await changedCase("dcl", (tensors, description) => {
    description.kind = "eval";
    description.ctor.text_seq_len = 20;
    const name = "param.text_transformer.abs_pos_emb.weight";
    const [length, width] = tensors.get(name)!.shape as [number, number];
    const data = new Float32Array(20 * width).fill(9);
    data.set(floatsOf(tensors, name));
    assert.ok(length < 20);
    tensors.set(name, { dtype: "F32", shape: [20, width], data });
    for (const [name, tensor] of tensors) {
      if (perSample(name)) tensors.set(name, rows(tensor, [2, 0, 1]));
    }
  });
  assert.deepEqual(troubles([await run(folder)]), []);
});

test("x-clip's names become Clipsmith's", () => {
  assert.equal(camelCase("dim_text"), "dimText");
  assert.equal(camelCase("decoupled_contrastive_learning"), "decoupledContrastiveLearning");
  assert.equal(camelCase("channels"), "channels");
});

test("an option that Clipsmith lacks is named, in a module too", async () => {
  const clip = await changedCase("dcl", (_, description) => {
    description.ctor.use_rainbows = true;
    description.ctor.rainbow_depth = 7;
  });
  assert.deepEqual(await run(clip), { name: "changed", missing: "useRainbows, rainbowDepth" });
  const forward = await changedCase("dcl", (_, description) => {
    (description.forward as Record<string, unknown>).aug_sound = ["in.aug_sound.0"];
  });
  assert.deepEqual(await run(forward), { name: "changed", missing: "augSound" });
  const module = await changedCase("module_geglu", (_, description) => {
    description.ctor.type = "Rainbow";
  });
  assert.deepEqual(await run(module), { name: "changed", missing: "Rainbow" });
});

for (const [what, change, message] of [
  [
    "an input",
    (tensors: Tensors) => tensors.delete("in.image"),
    /changed\.safetensors has no tensor "in\.image"/,
  ],
  [
    "a parameter",
    (tensors: Tensors) => tensors.delete("param.to_text_latent.weight"),
    /missing \[to_text_latent\.weight\], not in the model \[\]/,
  ],
  ["the loss", (tensors: Tensors) => tensors.delete("out.loss"), /has no tensor "out\.loss"/],
] as const) {
  test(`a case that lacks ${what} fails alone, and says so`, async () => {
    const folder = await changedCase("dcl", change);
    for (const ending of ["json", "safetensors"]) {
      await copyFile(join(golden, `module_geglu.${ending}`), join(folder, `geglu.${ending}`));
    }
    const [broken, other] = await runFolder(folder);
    assert.ok(broken && "failure" in broken);
    assert.match(broken.failure, message);
    assert.ok(!passed(broken));
    assert.ok(other && passed(other));
  });
}

test("a case without anything to compare is no success", async () => {
  const folder = await changedCase("dcl", (tensors, description) => {
    description.kind = "eval";
    for (const name of tensors.keys()) if (name.startsWith("out.")) tensors.delete(name);
  });
  const result = await run(folder);
  assert.ok("failure" in result);
  assert.match(result.failure, /no output to compare/);
});

test("a missing folder, and one without cases, are errors that say what to do", async () => {
  const missing = join(root, "missing");
  await assert.rejects(runFolder(missing), {
    name: "ClipsmithError",
    message: `there is no fixture folder ${missing}; name one: npm run parity -- DIR`,
  });
  const empty = join(root, "empty");
  await mkdir(empty);
  await writeFile(join(empty, "index.json"), "{}");
  await assert.rejects(runFolder(empty), { name: "ClipsmithError", message: /has no case/ });
});

test("the command prints a table, and its status tells whether all agree", async () => {
  const main = fileURLToPath(new URL("main.js", import.meta.url));
  const command = (...args: string[]) =>
    spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  const good = await changedCase("module_geglu", () => {});
  const agreed = command(good);
  assert.equal(agreed.status, 0, agreed.stderr);
  assert.match(agreed.stdout, /^changed .* ok$/m);
  assert.match(agreed.stdout, /1 agree, 0 off, 0 not supported/);

  const off = command(await changedCase("module_geglu", (tensors) => perturb(tensors, "out.y")));
  assert.equal(off.status, 1);
  assert.match(off.stdout, /^changed .* OFF$/m);
  assert.match(off.stdout, /output y is off by/);

  const nowhere = command(join(root, "missing"));
  assert.equal(nowhere.status, 1);
  assert.match(nowhere.stderr, /^there is no fixture folder .*\n$/);
  assert.match(command().stderr, /^name a fixture folder/);
});
