import { z } from "zod";

export const memoryPositionSchema = z.strictObject({
  epoch: z.int().min(0),
  /** Samples handed out in this epoch. */
  place: z.int().min(0),
  /** All samples. */
  samples: z.int().min(0),
});

export type MemoryPosition = z.output<typeof memoryPositionSchema>;

/** Where a block of entries begins. */
const blockStartSchema = z.strictObject({
  epoch: z.int().min(0),
  /** Number of the block in the epoch. */
  block: z.int().min(0),
  /** Samples in the epoch's blocks before. */
  samples: z.int().min(0),
  /** See ShardTurns. */
  lanes: z.array(z.strictObject({ shard: z.int().min(0), entry: z.int().min(0) })),
  begun: z.int().min(0),
  /** All shards of the source. */
  shards: z.int().min(1),
});

export const shardPositionSchema = blockStartSchema.extend({
  /** Entries of the block that were handed out. */
  place: z.int().min(0),
});

export type ShardPosition = z.output<typeof shardPositionSchema>;
export type BlockStart = z.output<typeof blockStartSchema>;

const sourcePositionSchema = z.union([memoryPositionSchema, shardPositionSchema]);

/** Checks a {@link StreamPosition} that was read from a file. */
export const streamPositionSchema = z.union([
  sourcePositionSchema,
  z.strictObject({
    /** Samples handed out. */
    drawn: z.int().min(0),
    sources: z.array(sourcePositionSchema).min(2),
  }),
]);

/** Where the streams of several readers stand. */
export const readersPositionSchema = z.strictObject({
  readers: z.array(streamPositionSchema).min(2),
});

export type ReadersPosition = z.output<typeof readersPositionSchema>;

/** Where a stream of samples stands; JSON. */
export type StreamPosition = z.output<typeof streamPositionSchema>;
