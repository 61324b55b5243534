import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { initialize, type Parameter, Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import { readTorch, type SafetensorsTensor } from "../weights/index.js";
import { fromStateDict, toStateDict } from "./state-dict.js";

/** Two modules, of which the second repeats the first, and one counter. */
const scope = new Scope();
scope.parameter("temperature", [], { kind: "constant", value: 1 });
const encoder = scope.child("encoder");
encoder.linear("layer", 2, 3);
encoder.buffer("batches", [], Float32Array.of(7), "I64");
scope.child("mlm").alias("transformer", encoder);
scope.child("ssl").alias("net", encoder);
const { parameters, aliases } = scope;
const weights = initialize(parameters, 1);

const refuses = (tensors: ReadonlyMap<string, SafetensorsTensor>, message: RegExp) =>
  assert.throws(
    () => fromStateDict(parameters, aliases, tensors, "w.pt"),
    (error) => {
      assert.ok(error instanceof ClipsmithError);
      assert.match(error.message, message);
      return true;
    },
  );
const changed = (change: (tensors: Map<string, SafetensorsTensor>) => void) => {
  const tensors = toStateDict(parameters, aliases, weights);
  change(tensors);
  return tensors;
};

test("shared tensors stand under every name, and counters are int64", () => {
  const tensors = toStateDict(parameters, aliases, weights);
  assert.deepEqual(
    [...tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]),
    [
      ["temperature", "F32", []],
      ["encoder.layer.weight", "F32", [2, 3]],
      ["encoder.batches", "I64", []],
      ["mlm.transformer.layer.weight", "F32", [2, 3]],
      ["mlm.transformer.batches", "I64", []],
      ["ssl.net.layer.weight", "F32", [2, 3]],
      ["ssl.net.batches", "I64", []],
    ],
  );
  assert.deepEqual(tensors.get("ssl.net.batches")!.data, BigInt64Array.of(7n));
  assert.deepEqual(fromStateDict(parameters, aliases, tensors, "w.pt"), weights);
});

test("any one of a tensor's names is enough", () => {
  for (const prefix of ["encoder", "mlm.transformer", "ssl.net"]) {
    const tensors = changed((all) => {
      for (const name of all.keys()) {
        if (name !== "temperature" && !name.startsWith(prefix)) all.delete(name);
      }
    });
    assert.equal(tensors.size, 3);
    assert.deepEqual(fromStateDict(parameters, aliases, tensors, "w.pt"), weights);
  }
});

test("a prefix of all names is dropped, and no part of a name", () => {
  const all = toStateDict(parameters, aliases, weights);
  for (const prefix of ["module.", "_orig_mod.module.", ".", ".x."]) {
    const prefixed = new Map([...all].map(([name, tensor]) => [prefix + name, tensor]));
    assert.deepEqual(fromStateDict(parameters, aliases, prefixed, "w.pt"), weights);
  }
  const some = changed((tensors) => tensors.set("module.extra", tensors.get("temperature")!));
  refuses(some, /unexpected: module\.extra\n/);
  const glued = new Map([...all].map(([name, tensor]) => [`m${name}`, tensor]));
  refuses(
    glued,
    /missing: temperature, encoder\.layer\.weight, encoder\.batches\n {2}unexpected: mte/,
  );
  // All of a small module's names share their beginning.
  const layer = new Scope("a.b.");
  layer.linear("c", 1, 1);
  const own = initialize(layer.parameters, 1);
  const saved = toStateDict(layer.parameters, new Map(), own);
  assert.deepEqual(fromStateDict(layer.parameters, new Map(), saved, "w.pt"), own);
});

test("all that is wrong is said at once", () => {
  const wrong = changed((tensors) => {
    const weight = tensors.get("encoder.layer.weight")!;
    for (const name of tensors.keys()) if (name.endsWith("batches")) tensors.delete(name);
    tensors.set("mlm.transformer.layer.weight", { ...weight, shape: [3, 2] });
    for (let i = 0; i < 12; i++) tensors.set(`more.${i}`, weight);
  });
  refuses(
    wrong,
    /^w\.pt does not .*\n {2}mlm\.transformer\.layer\.weight should be \[2, 3\], is \[3, 2\]\n {2}missing: encoder\.batches\n {2}unexpected: more\.0, .* more\.9 and 2 more\nDo these/,
  );
});

test("copies that differ are refused", () => {
  const differing = changed((tensors) => {
    const data = weights.get("encoder.layer.weight")!.slice();
    data[5]! += 1;
    tensors.set("ssl.net.layer.weight", { dtype: "F32", shape: [2, 3], data });
  });
  refuses(differing, /ssl\.net\.layer\.weight should repeat encoder\.layer\.weight, but differs/);
  const same = changed((tensors) => {
    const data = Float64Array.from(weights.get("encoder.layer.weight")!);
    tensors.set("ssl.net.layer.weight", { dtype: "F64", shape: [2, 3], data });
  });
  assert.deepEqual(fromStateDict(parameters, aliases, same, "w.pt"), weights);
});

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

test("x-clip's own state dict with shared modules comes back name by name", async (t) => {
  const path = join(golden, "mlm_shared.pt");
  if (!existsSync(path)) {
    t.skip(`there is no ${path}; name its folder by CLIPSMITH_GOLDEN`);
    return;
  }
  const { aliases: shared, order } = JSON.parse(
    readFileSync(join(golden, "checkpoints.json"), "utf8"),
  ).mlm_shared as { aliases: Record<string, string>; order: string[] };
  const tensors = await readTorch(path);
  const own = new Scope();
  for (const [name, { shape }] of tensors) {
    if (!(name in shared)) own.parameter(name, shape, { kind: "constant", value: 0 });
  }
  const parameters: ReadonlyMap<string, Parameter> = own.parameters;
  const aliases = new Map(Object.entries(shared));
  const weights = fromStateDict(parameters, aliases, tensors, path);
  assert.equal(weights.size, order.length - aliases.size);
  const again = toStateDict(parameters, aliases, weights);
  assert.deepEqual([...again.keys()].sort(), [...order].sort());
  for (const name of order) assert.deepEqual(again.get(name), tensors.get(name), name);
});
