import { join } from "node:path";
import { type Metrics, MetricsWriter } from "./metrics.js";
import { runFiles } from "./run-folder.js";
import { TensorBoardWriter } from "./tensorboard/writer.js";

/** Writes a run's metrics to its folder, as lines of JSON and for TensorBoard. */
export class RunMetrics {
  readonly #lines: MetricsWriter;
  readonly #events: TensorBoardWriter;

  /**
   * Starts both anew; or, with `resumedStep`, goes on after that step.
   *
   * @throws ClipsmithError when the files cannot be read or written
   */
  constructor(run: string, options: { readonly resumedStep?: number } = {}) {
    this.#lines = new MetricsWriter(join(run, runFiles.metrics), options);
    this.#events = new TensorBoardWriter(join(run, runFiles.tensorboard), options);
  }

  /** @throws ClipsmithError when they cannot be written */
  write(metrics: Metrics): void {
    this.#lines.write(metrics);
    this.#events.write(metrics);
  }

  close(): void {
    this.#lines.close();
    this.#events.close();
  }
}
