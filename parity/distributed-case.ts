import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Communicator } from "../src/distributed/index.js";
import { mpiruns, runRanks } from "../src/distributed/testing.js";
import { ChunkedGradients } from "../src/train/chunked-gradients.js";
import { batchOf } from "./batch.js";
import { type Compat, clipOf, lossOptions, runClipCase } from "./clip-case.js";
import { compare, type Difference, tolerances } from "./compare.js";
import { type Fixture, float, readFixture } from "./fixture.js";
import { compareGradients, parameterFeeds, zeros } from "./run.js";

/** What a rank found. */
interface RankResult {
  readonly loss: number;
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

/**
 * A batch that several processes share: as one process has it, and where MPI is installed as ranks do. Each
 * of them has the loss and the gradients of the whole batch.
 */
export async function runDistributedCase(fixture: Fixture, compat?: Compat): Promise<Difference[]> {
  const differences = await runClipCase(fixture, compat);
  const ranks = (fixture.description.rank_batches as readonly number[]).length;
  const self = fileURLToPath(import.meta.url);
  const program = new Function(
    "communicator",
    `return import(${JSON.stringify(`file://${join(dirname(self), "distributed-case.js")}`)})
      .then((m) => m.runRank(communicator, ${JSON.stringify({ folder: fixture.folder, name: fixture.name, compat })}));`,
  ) as (communicator: Communicator) => Promise<RankResult>;
  for (const mpirun of mpiruns) {
    const { results, stderr } = await runRanks(mpirun, ranks, program);
    for (const [rank, result] of results.entries()) {
      if (result === undefined) throw new Error(`rank ${rank} of ${mpirun.family}: ${stderr}`);
      const where = `rank ${rank}, ${mpirun.family}: `;
      differences.push(
        compare("loss", `${where}loss`, [result.loss], float(fixture, "out.loss"), tolerances.loss),
        ...compareGradients(fixture, new Map(Object.entries(result.gradients))).map(
          (difference) => ({ ...difference, name: where + difference.name }),
        ),
      );
    }
  }
  return differences;
}

/** What one of the ranks does. */
export async function runRank(
  communicator: Communicator,
  {
    folder,
    name,
    compat,
  }: { readonly folder: string; readonly name: string; readonly compat?: Compat },
): Promise<RankResult> {
  const fixture = await readFixture(folder, name);
  const clip = clipOf(fixture, compat);
  const { batch, ...sizes } = batchOf(fixture, clip);
  const method = await ChunkedGradients.compile({
    clip,
    ...sizes,
    chunkSize: 2,
    loss: lossOptions(fixture),
    runtime: { threads: 1 },
    communicator,
  });
  const gradients = zeros(method.learnt, clip.parameters);
  const values = parameterFeeds(fixture, clip.parameters);
  const { loss } = await method.run(
    batch,
    values,
    gradients,
    zeros(method.changed, clip.parameters),
  );
  await method.release();
  return {
    loss,
    gradients: Object.fromEntries([...gradients].map(([name, values]) => [name, [...values]])),
  };
}
