import { CLIP, tokenwiseSimilarities } from "../src/clip/index.js";
import { PictureLoader } from "../src/data/index.js";
import { constant, type Data, graph, input, type Tensor } from "../src/graph/index.js";
import { loadModel, pictureFormat } from "../src/model/index.js";
import { Program } from "../src/runtime/index.js";

/** Texts, and pictures, that are compared at a time. */
const TILE = 128;

/**
 * Part of the texts whose own picture is among the 10 most similar, where they are compared token by token
 * as FILIP does in training. Picture i belongs to text i.
 */
export async function tokenwiseRecall(
  folder: string,
  texts: readonly string[],
  pictures: readonly string[],
): Promise<number> {
  const { config, tokenizer, weights } = await loadModel(folder);
  const clip = new CLIP(config.clip);
  const { text, image } = clip.inputs("batch");
  const parameters = Object.fromEntries(weights);
  const loader = new PictureLoader({ ...pictureFormat(config), cacheBytes: 0 });
  const { pixels } = await loader.load(pictures.map((picture) => ({ picture })));
  await loader.close();
  const run = async (outputs: Record<string, Tensor>, feeds: Record<string, Data>) => {
    const program = await Program.compile(graph(outputs));
    const found = await program.run(feeds);
    await program.release();
    return found;
  };
  const { latents: textLatents, mask } = await run(
    { latents: clip.textLatents(clip.encodeText(text)), mask: clip.textMask(text)! },
    { ...parameters, text: tokenizer.encodeBatch(texts, config.clip.textSeqLen) },
  );
  const { latents: imageLatents } = await run(
    { latents: clip.imageLatents(clip.encodeImage(image)) },
    { ...parameters, image: pixels },
  );

  const { dimLatent: width, textSeqLen: words } = config.clip;
  const patches = imageLatents!.length / pictures.length / width;
  const scores = new Float32Array(texts.length * pictures.length);
  for (let t = 0; t < texts.length; t += TILE) {
    const rows = Math.min(TILE, texts.length - t);
    for (let i = 0; i < pictures.length; i += TILE) {
      const columns = Math.min(TILE, pictures.length - i);
      const { textToImage } = tokenwiseSimilarities(
        {
          text: input("text", [rows, words, width]),
          image: input("image", [columns, patches, width]),
          textMask: input("mask", [rows, words], "bool"),
        },
        constant(1),
      );
      const part = (data: Data, from: number, count: number, size: number) =>
        data.subarray(from * size, (from + count) * size);
      const { tile } = await run(
        { tile: textToImage },
        {
          text: part(textLatents!, t, rows, words * width),
          mask: part(mask!, t, rows, words),
          image: part(imageLatents!, i, columns, patches * width),
        },
      );
      for (let row = 0; row < rows; row++) {
        const line = (tile as Float32Array).subarray(row * columns, (row + 1) * columns);
        scores.set(line, (t + row) * pictures.length + i);
      }
    }
  }
  const hits = texts.filter((_, t) => {
    const row = scores.subarray(t * pictures.length, (t + 1) * pictures.length);
    return row.reduce((better, score) => better + Number(score > row[t]!), 0) < 10;
  });
  return hits.length / texts.length;
}
