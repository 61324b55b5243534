import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { SimCLR, SimSiam, VisionTransformer, type VisualSslOptions } from "../src/clip/index.js";
import { type Data, input, type Tensor } from "../src/graph/index.js";
import { BufferUpdates, parameterGradients, Scope } from "../src/nn/index.js";
import { maxDifference, maxMagnitude, tolerances } from "./compare.js";
import { type Fixture, float, floats, ints, readFixture, tensor } from "./fixture.js";
import { runWithGradients } from "./run.js";

const projectRoot = fileURLToPath(new URL("../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");
/** The weight of visual self-supervision in x-clip's loss, of which the gradients are. */
const WEIGHT = 0.05;

interface Module {
  readonly passes: number;
  loss: SimSiam["loss"];
}

/** A case's encoder and module, called as x-clip calls them. */
function build(fixture: Fixture) {
  const o = fixture.constructorOptions as Readonly<Record<string, number>> & {
    readonly visual_ssl: {
      readonly type: "simsiam" | "simclr";
      readonly hidden_layer: number;
      readonly projection_size: number;
      readonly projection_hidden_size: number;
      readonly temperature?: number;
    };
  };
  const scope = new Scope();
  const encoder = new VisionTransformer(scope.child("visual_transformer"), {
    width: o.dim_image!,
    imageSize: o.visual_image_size!,
    patchSize: o.visual_patch_size!,
    channels: 3,
    depth: o.visual_enc_depth!,
    heads: o.visual_heads!,
    dimHead: o.visual_dim_head!,
  });
  const { type, hidden_layer: layer, ...ssl } = o.visual_ssl;
  const kept = fixture.tensors.get("in.patch_indices.0")?.shape[1];
  const options: VisualSslOptions = {
    encode: (image, patchIndices) => encoder.representation(layer, image, patchIndices),
    width: encoder.representationWidth(layer, kept),
    projectionSize: ssl.projection_size,
    projectionHiddenSize: ssl.projection_hidden_size,
    compat: "x-clip",
  };
  const child = scope.child("visual_ssl");
  const module: Module =
    type === "simsiam"
      ? new SimSiam(child, options)
      : new SimCLR(child, { ...options, temperature: ssl.temperature });
  return { scope, module };
}

for (const [name, tolerance] of [
  ["simsiam", 2e-6],
  ["simsiam_hidden", 2e-6],
  ["simclr", 1e-5],
  ["readme_full", 2e-6],
] as const) {
  test(`visual self-supervision of ${name} agrees with x-clip`, async (t) => {
    if (!existsSync(join(golden, `${name}.json`))) {
      t.skip(`there is no ${name}.json in ${golden}; name its folder by CLIPSMITH_GOLDEN`);
      return;
    }
    const fixture = await readFixture(golden, name);
    const { scope, module } = build(fixture);
    const feeds: Record<string, Data> = {};
    const parameters = floats(fixture, "param.");
    for (const name of scope.parameters.keys()) feeds[name] = parameters.get(name)!;
    const isSsl = (name: string) => name.startsWith("visual_ssl.");
    assert.deepEqual(
      [...scope.parameters.keys()].filter(isSsl),
      (fixture.description.state_dict_order as string[]).filter(
        (name) => isSsl(name) && parameters.has(name),
      ),
      "names and order",
    );

    const declare = (name: string, data: Data, dtype: "float32" | "int32"): Tensor => {
      feeds[name] = data;
      return input(name, tensor(fixture, name).shape, dtype);
    };
    const view = (name: string) => declare(name, float(fixture, name), "float32");
    const drops = fixture.tensors.has("in.patch_indices.0");
    const patchIndices = Array.from({ length: module.passes }, (_, i) => `in.patch_indices.${i}`);
    const updates = new BufferUpdates();
    const loss = module.loss(
      {
        views: [view("in.view1"), view("in.view2")],
        patchIndices: drops
          ? patchIndices.map((name) => declare(name, ints(fixture, name), "int32"))
          : undefined,
      },
      updates,
    );
    const { results, gradients } = await runWithGradients(
      {
        loss,
        ...Object.fromEntries([...updates.values].map(([name, x]) => [`new ${name}`, x])),
      },
      parameterGradients(loss, scope.parameters),
      feeds,
    );

    const [expectedLoss] = float(fixture, "out.image_ssl_loss") as unknown as [number];
    const [actualLoss] = results.loss as unknown as [number];
    const lossError = Math.abs(actualLoss - expectedLoss) / Math.max(1, expectedLoss);
    assert.ok(lossError <= tolerance, `loss ${actualLoss}, must be ${expectedLoss}`);

    const buffers = floats(fixture, "out.buffer.");
    assert.deepEqual([...updates.values.keys()].sort(), [...buffers.keys()].filter(isSsl).sort());
    for (const [name, expected] of buffers) {
      if (!isSsl(name)) continue;
      const error = maxDifference(results[`new ${name}`] as Float32Array, expected);
      assert.ok(error <= 1e-5 * Math.max(1, maxMagnitude(expected)), `${name} is off by ${error}`);
    }

    // The rest of x-clip's loss reaches the encoder too, but not these.
    const expected = [...floats(fixture, "grad.")].filter(([name]) => isSsl(name));
    assert.deepEqual([...gradients.keys()].filter(isSsl).sort(), expected.map(([n]) => n).sort());
    for (const [name, gradient] of expected) {
      const actual = gradients.get(name)!.map((g: number) => g * WEIGHT);
      const allowed = tolerances.gradient * maxMagnitude(gradient) + tolerances.gradientFloor;
      const error = maxDifference(actual, gradient);
      assert.ok(error <= allowed, `gradient of ${name} is off by ${error}, allowed ${allowed}`);
    }
  });
}
