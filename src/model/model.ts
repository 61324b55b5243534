import { createHash } from "node:crypto";
import { CLIP, type ClipParts } from "../clip/index.js";
import { PictureLoader, type Tokenizer } from "../data/index.js";
import { type Data, graph } from "../graph/index.js";
import { type Program, ProgramCache, type RuntimeOptions } from "../runtime/index.js";
import { type ModelConfig, textEncoding } from "./config.js";
import type { Embedder, FailedPicture, PictureSource } from "./embedder.js";
import { loadModel, type ModelParts } from "./folder.js";

/** Pictures or texts that go through the model at a time. */
const BATCH = 64;

/** A trained model that embeds texts and pictures. Release it when it is no longer needed. */
export class Model implements Embedder {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly #clip: CLIP;
  readonly #weights: Readonly<Record<string, Data>>;
  readonly #programs: ProgramCache;
  readonly #loader: PictureLoader;

  /** @param parts encoders of your own, those that the model was trained with. */
  constructor(
    { config, tokenizer, weights }: ModelParts,
    runtime: RuntimeOptions = {},
    parts: ClipParts = {},
  ) {
    this.config = config;
    this.tokenizer = tokenizer;
    this.#clip = new CLIP(config.clip, parts);
    this.#weights = Object.fromEntries(weights);
    this.#programs = new ProgramCache(runtime);
    // Whoever asks for a picture again wants the file as it is now.
    this.#loader = new PictureLoader({ ...pictureFormat(config), cacheBytes: 0 });
  }

  /**
   * Reads a model's folder, as training wrote it.
   *
   * @param parts encoders of your own, those that the model was trained with.
   * @throws ClipsmithError if it is damaged.
   */
  static async load(
    folder: string,
    runtime: RuntimeOptions = {},
    parts: ClipParts = {},
  ): Promise<Model> {
    return new Model(await loadModel(folder, parts), runtime, parts);
  }

  get width(): number {
    return this.config.clip.dimLatent;
  }

  async embedTexts(texts: readonly string[]): Promise<Float32Array> {
    const program = await this.#programs.get("text", () => {
      const { text } = this.#clip.inputs("batch");
      return graph({ latents: this.#clip.embedText(text) });
    });
    const embeddings = new Float32Array(texts.length * this.width);
    const { textSeqLen } = this.config.clip;
    for (let start = 0; start < texts.length; start += BATCH) {
      const part = texts.slice(start, start + BATCH);
      const text = this.tokenizer.encodeBatch(part, textSeqLen, textEncoding(this.config));
      await this.#run(program, { text }, embeddings, start, part.length);
    }
    return embeddings;
  }

  async embedPictures(
    pictures: readonly PictureSource[],
  ): Promise<{ embeddings: Float32Array; failed: readonly FailedPicture[] }> {
    const program = await this.#imageProgram();
    const embeddings = new Float32Array(pictures.length * this.width);
    const failed: FailedPicture[] = [];
    const load = (start: number) =>
      this.#loader.load(pictures.slice(start, start + BATCH).map((picture) => ({ picture })));
    let next = load(0);
    for (let start = 0; start < pictures.length; start += BATCH) {
      const loaded = await next;
      // The next pictures are read while these are embedded.
      if (start + BATCH < pictures.length) next = load(start + BATCH);
      const count = loaded.fingerprints.length;
      await this.#run(program, { image: loaded.pixels }, embeddings, start, count);
      for (const { index, reason } of loaded.failed) {
        failed.push({ index: start + index, reason });
        embeddings.fill(0, (start + index) * this.width, (start + index + 1) * this.width);
      }
    }
    return { embeddings, failed };
  }

  /**
   * Embeds pictures that are pixels already, all at once.
   *
   * @param pixels [N, C, H, W] as a loader of {@link pictureFormat} gives them
   * @returns [N, L], each row of length 1
   */
  async embedPixels(pixels: Float32Array): Promise<Float32Array> {
    const { size, channels } = pictureFormat(this.config);
    const count = pixels.length / (channels * size ** 2);
    const embeddings = new Float32Array(count * this.width);
    if (count === 0) return embeddings;
    await this.#run(await this.#imageProgram(), { image: pixels }, embeddings, 0, count);
    return embeddings;
  }

  /** SHA-256 of the options and weights, in hexadecimal digits: of models with one, embeddings compare. */
  get checksum(): string {
    const hash = createHash("sha256").update(JSON.stringify(this.config));
    for (const name of Object.keys(this.#weights).sort()) {
      const { buffer, byteOffset, byteLength } = this.#weights[name]!;
      hash.update(name).update(new Uint8Array(buffer, byteOffset, byteLength));
    }
    return hash.digest("hex");
  }

  /** Frees sessions and ends the thread that reads pictures. */
  async release(): Promise<void> {
    await this.#programs.release();
    await this.#loader.close();
  }

  #imageProgram(): Promise<Program> {
    return this.#programs.get("image", () => {
      const { image } = this.#clip.inputs("batch");
      return graph({ latents: this.#clip.embedImage(image) });
    });
  }

  async #run(
    program: Program,
    inputs: Readonly<Record<string, Data>>,
    embeddings: Float32Array,
    start: number,
    count: number,
  ): Promise<void> {
    const latents = embeddings.subarray(start * this.width, (start + count) * this.width);
    await program.run({ ...this.#weights, ...inputs }, { latents });
  }
}

/** What a model's pictures look like to the loader that reads them. */
export function pictureFormat({ clip, preprocessing }: ModelConfig) {
  return {
    ...preprocessing,
    size: clip.visualImageSize,
    channels: clip.channels as 1 | 3,
  };
}
