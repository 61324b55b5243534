import { CLIP, type ClipInputs, clipOptionsSchema, type LossOptions } from "../src/clip/index.js";
import type { Data } from "../src/graph/index.js";
import { parameterGradients } from "../src/nn/index.js";
import { compare, type Difference, tolerances } from "./compare.js";
import { type Fixture, float, floats, ints, tensor } from "./fixture.js";
import { compareGradients, parameterFeeds, runOnce, runWithGradients, Unsupported } from "./run.js";

/** `text_enc_depth` to `textEncDepth`. */
export function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** The model of a case. Throws Unsupported for x-clip options that Clipsmith does not have. */
export function clipOf(fixture: Fixture): CLIP {
  const options = Object.entries(fixture.constructorOptions).map(
    ([name, value]) => [camelCase(name), value] as const,
  );
  const missing = options
    .map(([name]) => name)
    .filter((name) => !(name in clipOptionsSchema.shape));
  if (missing.length > 0) throw new Unsupported(missing.join(", "));
  return new CLIP(Object.fromEntries(options));
}

const plainForward = ["text", "image", "return_loss"];

function lossOptions(fixture: Fixture): LossOptions {
  const { freeze_image_encoder, freeze_text_encoder, ...rest } = fixture.forward;
  const missing = Object.keys(rest).filter((name) => !plainForward.includes(name));
  if (missing.length > 0) throw new Unsupported(missing.map(camelCase).join(", "));
  return {
    freezeImageEncoder: freeze_image_encoder === true,
    freezeTextEncoder: freeze_text_encoder === true,
  };
}

function latents(clip: CLIP, { text, image, patchIndices }: ClipInputs) {
  const encodedText = clip.encodeText(text);
  const encodedImage = clip.encodeImage(image, patchIndices);
  return {
    enc_text: encodedText,
    enc_image: encodedImage,
    text_latents: clip.textLatents(encodedText),
    image_latents: clip.imageLatents(encodedImage),
  };
}

/** One forward and backward in training mode, and the same parameters in evaluation. */
export async function runClipCase(fixture: Fixture): Promise<Difference[]> {
  const clip = clipOf(fixture);
  const options = lossOptions(fixture);
  const [batch, textLength] = tensor(fixture, "in.text").shape as [number, number];
  const parameters = parameterFeeds(fixture, clip.parameters);
  const feeds: Record<string, Data> = {
    ...Object.fromEntries(parameters),
    text: ints(fixture, "in.text"),
    image: float(fixture, "in.image"),
  };
  const differences: Difference[] = [];

  if (fixture.kind === "train") {
    const inputs = clip.inputs(batch, { textLength, training: true });
    if (inputs.patchIndices) feeds.patchIndices = ints(fixture, "in.patch_indices");
    const loss = clip.loss(inputs, options);
    const { results, gradients } = await runWithGradients(
      { loss, ...latents(clip, inputs) },
      parameterGradients(loss, clip.parameters),
      feeds,
    );
    const expectedLoss = float(fixture, "out.loss");
    differences.push(
      compare("loss", "loss", results.loss as Float32Array, expectedLoss, tolerances.loss),
      ...compareOutputs(fixture, "out.", results),
      ...compareGradients(fixture, gradients),
    );
  }

  const inputs = clip.inputs(batch, { textLength });
  const evaluation = latents(clip, inputs);
  const sim = clip.similarities(evaluation.text_latents, evaluation.image_latents);
  const results = await runOnce({ ...evaluation, sim }, feeds);
  differences.push(...compareOutputs(fixture, "out.eval.", results));
  return differences;
}

/** Compares the outputs that both the case and the results have. */
function compareOutputs(
  fixture: Fixture,
  prefix: string,
  results: Readonly<Record<string, Data>>,
): Difference[] {
  return [...floats(fixture, prefix)].flatMap(([name, expected]) => {
    const actual = results[name];
    if (actual === undefined || name === "loss") return [];
    const allowed = name.startsWith("enc_") ? tolerances.output : tolerances.latents;
    return [compare("output", prefix + name, actual as Float32Array, expected, allowed)];
  });
}
