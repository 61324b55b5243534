import { z } from "zod";
import { ClipsmithError } from "../util/errors.js";

const bpeFileSchema = z.object({
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  model: z.object({
    // Files of 2020 do not say it.
    type: z.literal("BPE").optional(),
    end_of_word_suffix: z.string().nullish(),
    vocab: z.record(z.string(), z.number()),
    // Libraries differ in how they write a merge, and read both ways.
    merges: z.array(
      z.union([
        z.tuple([z.string(), z.string()]),
        z
          .templateLiteral([z.string(), " ", z.string()])
          .transform((merge) => merge.split(" ") as [string, string]),
      ]),
    ),
  }),
});

/** What we read of a `tokenizer.json` of Hugging Face with a byte-pair model. */
export type BpeFile = z.output<typeof bpeFileSchema>;

/** @throws ClipsmithError for anything else, saying where it differs */
export function parseBpeFile(file: unknown): BpeFile {
  const parsed = bpeFileSchema.safeParse(file);
  if (!parsed.success) {
    throw new ClipsmithError(
      `This is no tokenizer.json with a BPE model:\n${z.prettifyError(parsed.error)}`,
    );
  }
  return parsed.data;
}
