import { z } from "zod";

/** How a source is embedded. */
export const embedOptionsSchema = z.strictObject({
  /** Pictures in a shard of the output, up to the end of a batch; a kill costs the work on one shard. */
  shardSize: z.int().min(1).max(100_000).default(10_000),
  /** Pictures that go through the model at a time. */
  batchSize: z.int().min(1).default(64),
  /** Threads that prepare pictures; 0: one for every four cores, at most four. */
  workers: z.int().min(0).default(0),
  /** Embed the captions, too. */
  texts: z.boolean().default(false),
  /**
   * Most pixels a side of the small copies that are kept of pictures inside shards, so that a search page
   * can show them; 0: none are kept.
   */
  thumbnailSize: z.int().min(0).max(2048).default(192),
  /** Stop when more than this part of the samples cannot be used. */
  maxSkippedRate: z.number().min(0).max(1).default(0.2),
  /** Skip what is out of reach of a shard, on a server or a disk, rather than stop. */
  skipUnreadable: z.boolean().default(false),
});

/** What a caller may give: everything has a default. */
export type EmbedOptionsInput = z.input<typeof embedOptionsSchema>;
export type EmbedOptions = z.output<typeof embedOptionsSchema>;
