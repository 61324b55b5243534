/** Ranks with readers of their own read their own shards, and together what one process reads. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  openStream,
  PictureLoader,
  type Sample,
  type SampleSource,
  type Shard,
  SkipLog,
  type Skipped,
  type SourceSample,
  type StreamPosition,
} from "../data/index.js";
import { type Communicator, solo } from "../distributed/index.js";
import { ClipsmithError } from "../util/errors.js";
import { BatchSamples, type SamplesOfBatch } from "./batch-samples.js";
import { ownRange } from "./ranks.js";
import { ownReaders, readersOf } from "./readers.js";
import { colourSamples } from "./testing.js";

let root: string;
let samples: Sample[];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-readers-"));
  samples = await colourSamples(root);
});
after(() => rm(root, { recursive: true }));

type Values = Uint8Array | Float64Array;

function joined(arrays: readonly Values[]): Values {
  const numbers = arrays.flatMap((values) => [...values]);
  return arrays[0] instanceof Uint8Array ? Uint8Array.from(numbers) : Float64Array.from(numbers);
}

/** Ranks in this process that can gather, and nothing else. */
function ranksOf(size: number): Communicator[] {
  let given: { values: Values; resolve: (all: unknown) => void }[] = [];
  const allGather = (rank: number) => (values: Values) =>
    new Promise((resolve) => {
      given[rank] = { values: values.slice(), resolve };
      if (Object.keys(given).length < size) return;
      const all = given;
      given = [];
      const gathered = {
        values: joined(all.map(({ values }) => values)),
        counts: all.map(({ values }) => values.length),
      };
      for (const { resolve } of all) resolve(gathered);
    });
  return Array.from({ length: size }, (_, rank) => ({
    ...solo(),
    rank,
    size,
    allGather: allGather(rank) as unknown as Communicator["allGather"],
  }));
}

/** So many shards, of which each notes in `read` that it was read; one entry of each is damaged, or all. */
function shards(count: number, read: Set<string>, isDamaged = (_: number) => false): SampleSource {
  const shard = (number: number): Shard => ({
    name: `shard ${number}`,
    async *read(start = 0) {
      read.add(`shard ${number}`);
      const entries: (SourceSample | Skipped)[] = [{ where: `${number}/lost`, reason: "damaged" }];
      for (let i = 0; i < 3 + (number % 2); i++) {
        const { picture, captions } = samples[(number + i) % samples.length]!;
        entries.push({
          name: `${number}/${i}`,
          picture: await readFile(picture as string),
          captions,
        });
      }
      yield* entries.slice(start, isDamaged(number) ? 1 : undefined);
    },
  });
  return { name: "shards", shards: Array.from({ length: count }, (_, i) => shard(i)) };
}

interface Rank {
  readonly samples: BatchSamples;
  readonly read: Set<string>;
  readonly log: SkipLog;
  close(): Promise<void>;
}

let logs = 0;

function openRank(
  communicator: Communicator | undefined,
  {
    readers,
    position = [],
    isDamaged,
  }: {
    readers: number;
    position?: readonly StreamPosition[];
    isDamaged?: (shard: number) => boolean;
  },
): Rank {
  const read = new Set<string>();
  const source = shards(5, read, isDamaged);
  const [first, end] = ownReaders(readers, communicator ?? solo());
  const streams = Array.from({ length: end - first }, (_, i) =>
    openStream({
      sources: [source],
      seed: 1,
      reader: { index: first + i, count: readers },
      ...(position[first + i] && { position: position[first + i]! }),
    }),
  );
  const loader = new PictureLoader({
    size: 8,
    channels: 3,
    mean: [0, 0, 0],
    std: [1, 1, 1],
    fit: "contain",
    workers: 1,
    maxPixels: 2 ** 20,
  });
  const limit = { rate: 0.9, work: "Training", option: "maxSkippedRate", remedy: "allow for more" };
  const log = new SkipLog(join(root, `skipped-${logs++}.jsonl`), limit);
  return {
    samples: new BatchSamples({
      streams,
      readers,
      communicator,
      batchSize: 6,
      chunkSize: 2,
      loader,
      requestOf: ({ picture }) => ({ picture }),
      pictureNumbers: 192,
      log,
    }),
    read,
    log,
    close: async () => {
      await Promise.all(streams.map((stream) => stream.close()));
      await loader.close();
    },
  };
}

const known = ({ samples, fingerprints, position }: SamplesOfBatch) => ({
  names: samples.map(({ name, epoch }) => `${name} of ${epoch}`),
  captions: samples.map(({ captions }) => captions),
  fingerprints: [...fingerprints],
  position,
});

for (const [size, readers] of [
  [2, 2],
  [2, 4],
  [3, 4],
] as const) {
  test(`${size} ranks with ${readers} readers give the batches of one process`, async () => {
    const alone = openRank(undefined, { readers });
    const ranks = ranksOf(size).map((rank) => ({ rank, ...openRank(rank, { readers }) }));
    try {
      let position: readonly StreamPosition[] = [];
      for (let step = 0; step < 5; step++) {
        const expected = known(await alone.samples.next());
        const batches = await Promise.all(ranks.map(({ samples }) => samples.next()));
        for (const [i, batch] of batches.entries()) {
          assert.deepEqual(known(batch), expected, `step ${step}`);
          const [from, to] = ownRange(6, ranks[i]!.rank);
          const { start, samples } = batch.own;
          const own = samples.slice(from - start, to - start);
          assert.deepEqual(
            own.map(({ name, epoch }) => `${name} of ${epoch}`),
            expected.names.slice(from, to),
          );
          assert.ok(own.every(({ picture }) => picture instanceof Uint8Array));
        }
        const again = openRank(undefined, { readers, position });
        assert.deepEqual(known(await again.samples.next()), expected, `resumed at ${step}`);
        await again.close();
        position = (expected.position as { readers: StreamPosition[] }).readers;
      }
      for (const { log } of ranks) assert.deepEqual(log.summary.causes, alone.log.summary.causes);
      assert.equal(alone.read.size, 5);
      for (const [i, { read }] of ranks.entries()) {
        const own = [...alone.read].filter((name) => (Number(name.at(-1)) % readers) % size === i);
        if (readers % size !== 0) assert.equal(read.size, 5);
        else if (readers === size) assert.deepEqual([...read].sort(), own.sort());
      }
      const all = ranks.flatMap(({ read }) => [...read]);
      if (readers % size === 0) assert.equal(all.length, 5, "no shard is read twice");
    } finally {
      await Promise.all([alone, ...ranks].map((rank) => rank.close()));
    }
  });
}

test("a failure of one rank's reader is that of all", async () => {
  const isDamaged = (shard: number) => shard % 2 === 1;
  const ranks = ranksOf(2).map((rank) => openRank(rank, { readers: 2, isDamaged }));
  try {
    const results = await Promise.allSettled(ranks.map(({ samples }) => samples.next()));
    for (const result of results) {
      assert.ok(result.status === "rejected" && result.reason instanceof ClipsmithError);
      assert.match(
        result.reason.message,
        /^shards gave no sample in a whole pass over its 2 shards/,
      );
    }
  } finally {
    await Promise.all(ranks.map((rank) => rank.close()));
  }
});

test("how many readers a run has", () => {
  const sources = [shards(5, new Set())];
  const ranks = (size: number) => ({ rank: 0, size });
  assert.equal(readersOf(sources, 8, undefined, undefined, ranks(4)), 4);
  assert.equal(readersOf(sources, 8, undefined, undefined, ranks(6)), 1, "too few shards");
  assert.equal(readersOf([samples], 8, undefined, undefined, ranks(4)), 1, "no shards");
  assert.equal(readersOf(sources, 8, 3, undefined, ranks(4)), 3);
  const position = { epoch: 0, place: 0, samples: 5 };
  assert.equal(readersOf(sources, 8, 3, position, ranks(4)), 1, "as it was begun");
  assert.equal(readersOf(sources, 8, 3, { readers: [position, position] }, ranks(4)), 2);
  assert.throws(() => readersOf(sources, 2, 3, undefined, ranks(1)), {
    name: "ClipsmithError",
    message: /training\.readers is 3, but a batch has 2 pairs/,
  });
  const stream = () => openStream({ sources, seed: 1, reader: { index: 0, count: 6 } });
  assert.throws(stream, { name: "ClipsmithError", message: /has 5 shards, too few for 6 readers/ });
});
