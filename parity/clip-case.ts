import { CLIP, type ClipOptions, clipOptionsSchema, type LossOptions } from "../src/clip/index.js";
import { concat, type Data, type Tensor } from "../src/graph/index.js";
import { parameterGradients } from "../src/nn/index.js";
import { batchFeeds } from "../src/train/batch.js";
import { batchOf } from "./batch.js";
import { compare, type Difference, maxMagnitude, tolerances } from "./compare.js";
import { customEncoders } from "./custom-encoders.js";
import { type Fixture, float, floats, ints, tensor } from "./fixture.js";
import { compareGradients, parameterFeeds, runOnce, runWithGradients, Unsupported } from "./run.js";

/** `text_enc_depth` to `textEncDepth`. */
export function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** Whether to ask for x-clip's numbers where they differ from what its papers say. */
export type Compat = ClipOptions["compat"];

/** The model of a case. Throws Unsupported for x-clip options that Clipsmith does not have. */
export function clipOf(fixture: Fixture, compat?: Compat): CLIP {
  const { text_encoder: _, image_encoder: __, visual_ssl, ...rest } = fixture.constructorOptions;
  const options = Object.entries({ ...rest, ...sslOptions(visual_ssl) }).map(
    ([name, value]) => [camelCase(name), value] as const,
  );
  const missing = options
    .map(([name]) => name)
    .filter((name) => !(name in clipOptionsSchema.shape));
  if (missing.length > 0) throw new Unsupported(missing.join(", "));
  return new CLIP(
    { ...Object.fromEntries(options), compat },
    customEncoders(fixture.constructorOptions),
  );
}

/** A self-supervision module that was built outside, as the options that build it. */
function sslOptions(described: unknown): Record<string, unknown> {
  if (described === undefined) return {};
  const { type, hidden_layer, projection_size, projection_hidden_size, temperature } =
    described as Readonly<Record<string, unknown>>;
  return {
    visual_ssl_type: type,
    visual_ssl_hidden_layer: hidden_layer,
    visual_ssl_projection_size: projection_size,
    visual_ssl_projection_hidden_size: projection_hidden_size,
    ...(temperature !== undefined && { simclr_temperature: temperature }),
  };
}

const knownForward = ["text", "image", "return_loss", "aug_text", "aug_image"];

export function lossOptions(fixture: Fixture): LossOptions {
  const { freeze_image_encoder, freeze_text_encoder, ...rest } = fixture.forward;
  const missing = Object.keys(rest).filter((name) => !knownForward.includes(name));
  if (missing.length > 0) throw new Unsupported(missing.map(camelCase).join(", "));
  return {
    freezeImageEncoder: freeze_image_encoder === true,
    freezeTextEncoder: freeze_text_encoder === true,
  };
}

/** Encodings and latents of a batch with all its views, under x-clip's names. */
function latents(
  clip: CLIP,
  text: Tensor,
  image: Tensor,
  patchIndices?: Tensor,
): Record<string, Tensor> {
  const encodedText = clip.encodeText(text);
  const encodedImage = clip.encodeImage(image, patchIndices);
  return {
    enc_text: encodedText,
    enc_image: encodedImage,
    text_latents: clip.textLatents(encodedText),
    image_latents: clip.imageLatents(encodedImage, patchIndices),
    text_latents_extra: clip.textLatentsExtra(encodedText),
    image_latents_extra: clip.imageLatentsExtra(encodedImage, patchIndices),
  };
}

/** One forward and backward in training mode, and the same parameters in evaluation. */
export async function runClipCase(fixture: Fixture, compat?: Compat): Promise<Difference[]> {
  const clip = clipOf(fixture, compat);
  const [batch, textLength] = tensor(fixture, "in.text").shape as [number, number];
  const feeds: Record<string, Data> = {
    ...Object.fromEntries(parameterFeeds(fixture, clip.parameters)),
    text: ints(fixture, "in.text"),
    image: float(fixture, "in.image"),
  };
  const differences = fixture.kind === "eval" ? [] : await compareTraining(fixture, clip, feeds);

  const { text, image } = clip.inputs(batch, { textLength });
  const evaluation = latents(clip, text, image);
  const compared = clip.options.useAllTokenEmbeds ? "tokenSimilarities" : "similarities";
  const { text_latents, image_latents, text_latents_extra, image_latents_extra } = evaluation;
  const results = await runOnce(
    {
      ...evaluation,
      sim: clip[compared](text_latents!, image_latents!),
      sim_image_to_text: clip[compared](text_latents_extra!, image_latents_extra!),
    },
    feeds,
  );
  return [...differences, ...compareOutputs(fixture, "out.eval.", results)];
}

async function compareTraining(
  fixture: Fixture,
  clip: CLIP,
  feeds: Readonly<Record<string, Data>>,
): Promise<Difference[]> {
  const { batch, batchSize, ...options } = batchOf(fixture, clip);
  const inputs = clip.inputs(batchSize, { ...options, training: true });
  const { text, image, patchIndices } = inputs;
  const { loss, terms, buffers } = clip.losses(inputs, lossOptions(fixture));
  const together = (first: Tensor, more: readonly Tensor[] = []) =>
    more.length > 0 ? concat([first, ...more], 0) : first;
  const outputs = latents(
    clip,
    together(text, inputs.augText),
    together(image, inputs.augImage),
    patchIndices,
  );
  const { results, gradients } = await runWithGradients(
    {
      loss,
      ...outputs,
      ...(terms.textSsl && { text_ssl_loss: terms.textSsl }),
      ...(terms.imageSsl && { image_ssl_loss: terms.imageSsl }),
      ...Object.fromEntries([...buffers].map(([name, value]) => [`buffer.${name}`, value])),
    },
    parameterGradients(loss, clip.parameters),
    { ...feeds, ...batchFeeds(batch) },
  );
  // Every rank of a distributed case has the loss of the whole batch.
  const ranks = [...floats(fixture, "out.")].filter(([name]) => /^rank\d+\.loss$/.test(name));
  const losses = [["loss", float(fixture, "out.loss")] as const, ...ranks];
  return [
    ...losses.map(([name, expected]) =>
      compare("loss", name, results.loss as Float32Array, expected, lossTolerance(clip)),
    ),
    ...compareOutputs(fixture, "out.", {
      ...results,
      ...(clip.options.textCausalMask && {
        enc_text: eosBack(results.enc_text as Float32Array, fixture, clip),
      }),
    }),
    ...compareGradients(fixture, gradients),
  ];
}

/**
 * Encodings [B, T, D] with end tokens back in their place: what a training case keeps is what the encoder
 * gave, before x-clip moves them.
 */
function eosBack(encoded: Float32Array, fixture: Fixture, { options }: CLIP): Float32Array {
  const { dimText: width, textEosId } = options;
  const text = ints(fixture, "in.text");
  const [, length] = tensor(fixture, "in.text").shape as [number, number];
  const moved = new Float32Array(encoded.length);
  for (let row = 0; row < encoded.length / width / length; row++) {
    const eos = text.subarray(row * length, (row + 1) * length).indexOf(textEosId!);
    for (let t = 0; t < length; t++) {
      const from = t === eos ? 0 : t < eos ? t + 1 : t;
      const at = (row * length + from) * width;
      moved.set(encoded.subarray(at, at + width), (row * length + t) * width);
    }
  }
  return moved;
}

/** SimCLR compares rows that are not of length 1, which costs digits. */
function lossTolerance({ options }: CLIP): number {
  const { useVisualSsl, visualSslType } = options;
  return useVisualSsl && visualSslType === "simclr" ? tolerances.simclrLoss : tolerances.loss;
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
    // Terms and statistics may be large: their bound is relative to that.
    const scaled = /_ssl_loss$|^buffer\./.test(name);
    const bound = name.startsWith("enc_") ? tolerances.output : tolerances.latents;
    const allowed = scaled ? bound * Math.max(1, maxMagnitude(expected)) : bound;
    return [compare("output", prefix + name, actual as Float32Array, expected, allowed)];
  });
}
