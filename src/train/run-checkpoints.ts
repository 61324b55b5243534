import { join } from "node:path";
import type { CLIP } from "../clip/index.js";
import { ClipsmithError } from "../util/errors.js";
import type { Lock } from "../util/lock.js";
import {
  checkpointPath,
  latestCheckpoint,
  loadCheckpoint,
  type SavedCheckpoint,
  saveCheckpoint,
} from "./checkpoint.js";
import { runFiles } from "./run-folder.js";
import type { RunState } from "./run-state.js";
import type { TrainingStep } from "./step.js";

/** Saves what a run has learnt to its folder, and takes it up again. */
export class RunCheckpoints {
  readonly #run: string;
  readonly #folder: string;
  readonly #clip: CLIP;
  readonly #step: TrainingStep;
  readonly #lock: Lock | undefined;
  readonly #writes: boolean;
  #saved: { readonly time: number; readonly step: number };

  /**
   * @param firstStep steps taken before, which are saved
   * @param lock is checked before the folder is written to
   * @param writes false where another rank saves what is the same on all
   */
  constructor(
    run: string,
    clip: CLIP,
    step: TrainingStep,
    firstStep: number,
    lock: Lock | undefined,
    writes = true,
  ) {
    this.#run = run;
    this.#folder = join(run, runFiles.checkpoints);
    this.#clip = clip;
    this.#step = step;
    this.#lock = lock;
    this.#writes = writes;
    this.#saved = { time: performance.now(), step: firstStep };
  }

  /** The step of the last checkpoint, or the first step; that of no checkpoint is 0. */
  get savedStep(): number {
    return this.#saved.step;
  }

  /** Seconds since the last checkpoint, or the start. */
  get secondsSince(): number {
    return (performance.now() - this.#saved.time) / 1000;
  }

  async save({ step, ...state }: RunState): Promise<void> {
    if (this.#writes) await this.#write({ step, ...state });
    this.#saved = { time: performance.now(), step };
  }

  async #write({ step, ...state }: RunState): Promise<void> {
    const tensors = new Map(this.#step.optimizer.state());
    for (const [name, data] of this.#step.weights) {
      tensors.set(name, { shape: this.#clip.parameters.get(name)!.shape, data });
    }
    await this.#lock?.check();
    const kept = state.best === undefined ? {} : { best: state.best.step };
    await saveCheckpoint(this.#folder, { step, tensors, state }, kept);
  }

  /** The last one that is whole, and warnings of others. */
  async latest(): Promise<{ latest: SavedCheckpoint; warnings: readonly string[] }> {
    const { latest, warnings } = await latestCheckpoint(this.#folder);
    if (!latest) throw new ClipsmithError(`${this.#run} has lost its checkpoints.`);
    return { latest, warnings };
  }

  /** Takes up the weights and the optimizer's state. */
  restore({ tensors }: SavedCheckpoint): void {
    this.#step.optimizer.restore(tensors);
    for (const [name, values] of this.#step.weights) {
      values.set(tensors.get(name)!.data);
    }
  }

  /** The weights saved after a step, or their running means where it has such. */
  async weightsAt(step: number): Promise<ReadonlyMap<string, Float32Array>> {
    const checkpoint = await loadCheckpoint(checkpointPath(this.#folder, step));
    return modelWeights(checkpoint, this.#clip);
  }
}

/**
 * The weights of the model that a checkpoint makes: the running means where it has such.
 *
 * @throws ClipsmithError if it is of another model.
 */
export function modelWeights(
  { path, tensors }: SavedCheckpoint,
  clip: CLIP,
): ReadonlyMap<string, Float32Array> {
  const weights = new Map<string, Float32Array>();
  for (const name of clip.parameters.keys()) {
    const { data } = tensors.get(`ema.${name}`) ?? tensors.get(name) ?? {};
    if (!(data instanceof Float32Array)) {
      throw new ClipsmithError(`${path} has no ${name}: is it of another model?`);
    }
    weights.set(name, data);
  }
  return weights;
}
